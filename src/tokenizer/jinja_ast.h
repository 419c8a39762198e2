// SPDX-License-Identifier: Apache-2.0
// Syntax tree of a chat template. Nodes are owned by the Template, so that dropping a deep tree
// does not recurse.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxn::tokenizer::jinja {

enum class ExprKind : uint8_t {
  kNone,
  kBool,     // integer
  kInt,      // integer
  kFloat,    // number
  kString,   // text
  kName,     // text
  kList,     // args
  kTuple,    // args
  kDict,     // args: key, value, key, value, ...
  kAttr,     // target.text
  kItem,     // target[args[0]]
  kSlice,    // target[args[0]:args[1]:args[2]], null where left out
  kCall,     // target(args, kwargs)
  kFilter,   // target | text(args, kwargs); target is null in a filter block
  kTest,     // target is text(args)
  kNot,      // args[0]
  kNegate,   // args[0]
  kPlus,     // +args[0]
  kBinary,   // args[0] text args[1]
  kCompare,  // args[0] names[0] args[1] names[1] args[2] ...
  kAnd,      // args[0], args[1]
  kOr,       // args[0], args[1]
  kConcat,   // args ~ ...
  kCond,     // args[0] if args[1] else args[2]; args[2] may be null
  kNsRef,    // target of an assignment: names[0].text
};

struct Expr {
  ExprKind kind = ExprKind::kNone;
  int line = 0;
  int depth = 1;  // of the tree below
  int64_t integer = 0;
  double number = 0;
  std::string text;
  Expr* target = nullptr;
  std::vector<Expr*> args;
  std::vector<std::pair<std::string, Expr*>> kwargs;
  std::vector<std::string> names;
};

enum class StmtKind : uint8_t {
  kData,      // text
  kPrint,     // expr
  kIf,        // branches; a null condition is the else
  kFor,       // target, expr, condition (may be null), body, else_body
  kSet,       // target, expr
  kSetBlock,  // target, filters (expr, may be null), body
  kMacro,     // text, params, body
  kCall,      // expr is the call, params, body
  kFilter,    // expr is the filter chain, body
  kWith,      // bindings, body
  kScope,     // body, for tags that only mark text
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<Stmt*>;

struct Stmt {
  StmtKind kind = StmtKind::kData;
  int line = 0;
  std::string text;
  Expr* expr = nullptr;
  Expr* target = nullptr;
  Expr* condition = nullptr;
  Body body;
  Body else_body;
  std::vector<std::pair<Expr*, Body>> branches;
  std::vector<std::pair<std::string, Expr*>> params;  // name, default or null
  std::vector<std::pair<Expr*, Expr*>> bindings;      // target, value
};

struct Template {
  std::deque<Expr> exprs;
  std::deque<Stmt> stmts;
  Body body;
};

// Throws Error(kTemplate) with the line of the template.
[[noreturn]] void fail(int line, std::string_view message);

// Throws Error(kTemplate) where the text is no template, or uses what is not supported.
Template parse(std::string_view source);

}  // namespace mlxn::tokenizer::jinja
