// SPDX-License-Identifier: Apache-2.0
// Runs a parsed template. It can reach nothing but the values it is given, and its depth, steps and
// memory are limited.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_value.h"

namespace mlxn::tokenizer::jinja {

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;

  // The argument at `index`, or of that name. An empty name is positional only.
  std::optional<Value> get(size_t index, std::string_view name) const;
};

class Interpreter {
 public:
  // `now`: see ChatOptions.
  Interpreter(Heap& heap, std::optional<int64_t> now);

  void define(std::string_view name, Value value) { scope_->variables[name] = value; }
  std::string run(const Template& source);

  Heap& heap() { return heap_; }
  std::optional<int64_t> now() const { return now_; }
  [[noreturn]] void fail(std::string_view message) const;
  Value call(const Value& function, const Args& args);
  Value get_attribute(const Value& value, const std::string& name);
  Value get_item(const Value& value, const Value& key);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  // Evaluation recurses with the syntax tree and with calls of macros.
  class DepthGuard {
   public:
    explicit DepthGuard(Interpreter& interpreter);
    ~DepthGuard() { --interpreter_.depth_; }
    DepthGuard(const DepthGuard&) = delete;
    DepthGuard& operator=(const DepthGuard&) = delete;

   private:
    Interpreter& interpreter_;
  };

  Value eval(const Expr& expr);
  Value eval_name(const Expr& expr);
  Value eval_slice(const Expr& expr);
  Value eval_call(const Expr& expr);
  Value eval_filter(const Expr& expr, const Value* target);
  Value eval_compare(const Expr& expr);
  Value eval_binary(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_dict(const Expr& expr);
  std::vector<Value> eval_all(const std::vector<Expr*>& exprs);
  Args eval_args(const Expr& expr);
  Value loop_attribute(const Loop& loop, std::string_view name);

  Flow exec(const Body& body);
  Flow exec(const Stmt& stmt);
  Flow exec_if(const Stmt& stmt);
  Flow exec_for(const Stmt& stmt);
  Flow exec_scoped(const Body& body);
  Flow exec_with(const Stmt& stmt);
  std::vector<Value> loop_items(const Stmt& stmt);
  std::string capture(const Body& body);
  void assign(const Expr& target, const Value& value);
  Macro make_macro(const Stmt& stmt, std::string_view name) const;
  Value call_macro(const Macro& macro, const Args& args);
  void call_block(const Stmt& stmt);
  void print(std::string_view text);

  Heap& heap_;
  std::optional<int64_t> now_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  int depth_ = 0;
};

Value apply_filter(Interpreter& in, std::string_view name, const Value& target, const Args& args);
bool apply_test(Interpreter& in, std::string_view name, const Value& target, const Args& args);
// Methods of strings, lists and dicts.
bool has_method(const Value& self, std::string_view name);
Value call_method(Interpreter& in, const Method& method, const Args& args);
// range, namespace, dict, raise_exception, strftime_now; empty for other names.
std::optional<Value> global_function(std::string_view name);
Value call_function(Interpreter& in, std::string_view name, const Args& args);

// + - * / // % **
Value arithmetic(Interpreter& in, std::string_view op, const Value& a, const Value& b);
Value slice(Interpreter& in, const Value& target, const Value& start, const Value& stop,
            const Value& step);
// Value of an argument as text or integer, or what it is if left out; fails naming `what`.
std::string text_of(Interpreter& in, const Value& value, std::string_view what);
int64_t int_of(Interpreter& in, const Value& value, std::string_view what);

}  // namespace mlxn::tokenizer::jinja
