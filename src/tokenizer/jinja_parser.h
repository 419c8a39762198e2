// SPDX-License-Identifier: Apache-2.0
// Expressions of a template, by recursive descent; the statement parser builds on it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja_ast.h"
#include "tokenizer/jinja_lexer.h"

namespace mlxn::tokenizer::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, Template& out)
      : out_(out), tokens_(std::move(tokens)) {}

 protected:
  // Limits recursion: tags and brackets may nest this deep.
  class DepthGuard {
   public:
    explicit DepthGuard(ExpressionParser& parser);
    ~DepthGuard() { --parser_.depth_; }
    DepthGuard(const DepthGuard&) = delete;
    DepthGuard& operator=(const DepthGuard&) = delete;

   private:
    ExpressionParser& parser_;
  };

  const Token& peek(size_t ahead = 0) const;
  const Token& next();
  int line() const { return peek().line; }
  bool peek_name(std::string_view name) const;
  bool peek_op(std::string_view op, size_t ahead = 0) const;
  bool skip_name(std::string_view name);
  bool skip_op(std::string_view op);
  void expect(TokenKind kind, std::string_view what);
  void expect_op(std::string_view op);
  std::string expect_name();

  Expr* parse_expression(bool with_condition = true);
  // An expression, or a tuple if commas follow.
  Expr* parse_tuple(bool with_condition = true);
  // What an assignment or a loop assigns to: names, tuples of names, and perhaps
  // namespace.attribute.
  Expr* parse_target(bool with_namespace);
  // A chain of filters on `target`; the first has no "|" if `named`.
  Expr* parse_filters(Expr* target, bool named = false);

  Template& out_;

 private:
  Expr* make(ExprKind kind, int line);
  Expr* finish(Expr* expr);  // sets the depth
  Expr* parse_or();
  Expr* parse_and();
  Expr* parse_not();
  Expr* parse_compare();
  Expr* parse_sum();
  Expr* parse_concat();
  Expr* parse_product();
  Expr* parse_power();
  Expr* parse_unary(bool with_filters);
  Expr* parse_primary();
  Expr* parse_literal(const Token& token);
  Expr* parse_name(const Token& token);
  Expr* parse_postfix(Expr* expr);
  Expr* parse_subscript(Expr* target);
  Expr* parse_test(Expr* target);
  Expr* parse_single_target(bool with_namespace);
  void parse_items(std::string_view close, Expr* into);
  void parse_dict(Expr* into);
  void parse_arguments(Expr* into);
  Expr* binary(Expr* left, const Token& op, Expr* right);
  bool at_expression_end() const;

  std::vector<Token> tokens_;
  size_t index_ = 0;
  int depth_ = 0;
};

}  // namespace mlxn::tokenizer::jinja
