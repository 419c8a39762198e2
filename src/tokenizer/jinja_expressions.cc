// SPDX-License-Identifier: Apache-2.0
// Expressions of a template. Precedence, loosest first: if-else, or, and, not, comparisons, + -, ~,
// * / // %, **, unary sign, then subscripts, calls, filters and tests.
#include <algorithm>
#include <charconv>

#include "base/decimal.h"
#include "tokenizer/jinja_parser.h"

namespace mlxn::tokenizer::jinja {
namespace {

// A bracket counts twice and a tag once; published templates stay below 40.
constexpr int kMaxNesting = 200;
constexpr int kMaxTreeDepth = 300;

}  // namespace

ExpressionParser::DepthGuard::DepthGuard(ExpressionParser& parser) : parser_(parser) {
  if (++parser.depth_ > kMaxNesting) {
    --parser.depth_;
    fail(parser.line(), "the template nests too deeply");
  }
}

const Token& ExpressionParser::peek(size_t ahead) const {
  return tokens_[std::min(index_ + ahead, tokens_.size() - 1)];
}

const Token& ExpressionParser::next() {
  const Token& token = peek();
  if (index_ + 1 < tokens_.size()) ++index_;
  return token;
}

bool ExpressionParser::peek_name(std::string_view name) const {
  return peek().kind == TokenKind::kName && peek().text == name;
}

bool ExpressionParser::peek_op(std::string_view op, size_t ahead) const {
  return peek(ahead).kind == TokenKind::kOperator && peek(ahead).text == op;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!peek_name(name)) return false;
  next();
  return true;
}

bool ExpressionParser::skip_op(std::string_view op) {
  if (!peek_op(op)) return false;
  next();
  return true;
}

void ExpressionParser::expect(TokenKind kind, std::string_view what) {
  if (peek().kind != kind) {
    fail(line(), "expected '" + std::string(what) + "', found '" + peek().text + "'");
  }
  next();
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) {
    fail(line(), "expected '" + std::string(op) + "', found '" + peek().text + "'");
  }
}

std::string ExpressionParser::expect_name() {
  if (peek().kind != TokenKind::kName) fail(line(), "expected a name, found '" + peek().text + "'");
  return next().text;
}

Expr* ExpressionParser::make(ExprKind kind, int line) {
  Expr& expr = out_.exprs.emplace_back();
  expr.kind = kind;
  expr.line = line;
  return &expr;
}

Expr* ExpressionParser::finish(Expr* expr) {
  int depth = expr->target != nullptr ? expr->target->depth : 0;
  for (const Expr* arg : expr->args) {
    if (arg != nullptr) depth = std::max(depth, arg->depth);
  }
  for (const auto& [name, arg] : expr->kwargs) depth = std::max(depth, arg->depth);
  expr->depth = depth + 1;
  if (expr->depth > kMaxTreeDepth) fail(expr->line, "an expression is too long");
  return expr;
}

Expr* ExpressionParser::parse_expression(bool with_condition) {
  const DepthGuard guard(*this);
  Expr* expr = parse_or();
  while (with_condition && peek_name("if")) {
    const int line = next().line;
    Expr* condition = parse_or();
    Expr* otherwise = skip_name("else") ? parse_expression() : nullptr;
    Expr* whole = make(ExprKind::kCond, line);
    whole->args = {expr, condition, otherwise};
    expr = finish(whole);
  }
  return expr;
}

bool ExpressionParser::at_expression_end() const {
  const TokenKind kind = peek().kind;
  return kind == TokenKind::kPrintEnd || kind == TokenKind::kBlockEnd || kind == TokenKind::kEnd ||
         peek_op(")") || peek_op("=") || peek_name("in");
}

Expr* ExpressionParser::parse_tuple(bool with_condition) {
  const int line = this->line();
  Expr* first = parse_expression(with_condition);
  if (!peek_op(",")) return first;
  Expr* tuple = make(ExprKind::kTuple, line);
  tuple->args.push_back(first);
  while (skip_op(",")) {
    if (at_expression_end()) break;
    tuple->args.push_back(parse_expression(with_condition));
  }
  return finish(tuple);
}

Expr* ExpressionParser::binary(Expr* left, const Token& op, Expr* right) {
  Expr* expr = make(ExprKind::kBinary, op.line);
  expr->text = op.text;
  expr->args = {left, right};
  return finish(expr);
}

Expr* ExpressionParser::parse_or() {
  Expr* left = parse_and();
  while (peek_name("or")) {
    Expr* expr = make(ExprKind::kOr, next().line);
    expr->args = {left, parse_and()};
    left = finish(expr);
  }
  return left;
}

Expr* ExpressionParser::parse_and() {
  Expr* left = parse_not();
  while (peek_name("and")) {
    Expr* expr = make(ExprKind::kAnd, next().line);
    expr->args = {left, parse_not()};
    left = finish(expr);
  }
  return left;
}

Expr* ExpressionParser::parse_not() {
  if (!peek_name("not")) return parse_compare();
  const DepthGuard guard(*this);
  Expr* expr = make(ExprKind::kNot, next().line);
  expr->args = {parse_not()};
  return finish(expr);
}

Expr* ExpressionParser::parse_compare() {
  Expr* left = parse_sum();
  Expr* compare = nullptr;
  while (true) {
    std::string op;
    for (const char* symbol : {"==", "!=", "<", ">", "<=", ">="}) {
      if (peek_op(symbol)) op = symbol;
    }
    if (peek_name("in")) op = "in";
    if (peek_name("not") && peek(1).kind == TokenKind::kName && peek(1).text == "in") {
      op = "not in";
      next();
    }
    if (op.empty()) break;
    const int line = next().line;
    if (compare == nullptr) {
      compare = make(ExprKind::kCompare, line);
      compare->args.push_back(left);
    }
    compare->names.push_back(op);
    compare->args.push_back(parse_sum());
  }
  return compare == nullptr ? left : finish(compare);
}

Expr* ExpressionParser::parse_sum() {
  Expr* left = parse_concat();
  while (peek_op("+") || peek_op("-")) {
    const Token op = next();
    left = binary(left, op, parse_concat());
  }
  return left;
}

Expr* ExpressionParser::parse_concat() {
  Expr* first = parse_product();
  if (!peek_op("~")) return first;
  Expr* expr = make(ExprKind::kConcat, line());
  expr->args.push_back(first);
  while (skip_op("~")) expr->args.push_back(parse_product());
  return finish(expr);
}

Expr* ExpressionParser::parse_product() {
  Expr* left = parse_power();
  while (peek_op("*") || peek_op("/") || peek_op("//") || peek_op("%")) {
    const Token op = next();
    left = binary(left, op, parse_power());
  }
  return left;
}

Expr* ExpressionParser::parse_power() {
  Expr* left = parse_unary(true);
  while (peek_op("**")) {
    const Token op = next();
    left = binary(left, op, parse_unary(true));
  }
  return left;
}

Expr* ExpressionParser::parse_unary(bool with_filters) {
  const DepthGuard guard(*this);
  Expr* expr;
  if (peek_op("-") || peek_op("+")) {
    const Token op = next();
    expr = make(op.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, op.line);
    expr->args = {parse_unary(false)};
    finish(expr);
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(expr);
  while (with_filters) {
    if (peek_op("|")) {
      expr = parse_filters(expr);
    } else if (peek_name("is")) {
      expr = parse_test(expr);
    } else if (peek_op("(")) {
      expr = parse_postfix(expr);
    } else {
      break;
    }
  }
  return expr;
}

Expr* ExpressionParser::parse_name(const Token& token) {
  const std::string& name = token.text;
  Expr* expr = make(ExprKind::kName, token.line);
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    expr->kind = ExprKind::kBool;
    expr->integer = name == "true" || name == "True";
  } else if (name == "none" || name == "None") {
    expr->kind = ExprKind::kNone;
  } else {
    expr->text = name;
  }
  return expr;
}

Expr* ExpressionParser::parse_literal(const Token& token) {
  if (token.kind == TokenKind::kString) {
    Expr* expr = make(ExprKind::kString, token.line);
    expr->text = token.text;
    while (peek().kind == TokenKind::kString) expr->text += next().text;
    return expr;
  }
  Expr* expr = make(token.kind == TokenKind::kInt ? ExprKind::kInt : ExprKind::kFloat, token.line);
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  bool is_read;
  if (token.kind == TokenKind::kInt) {
    const auto result = std::from_chars(begin, end, expr->integer);
    is_read = result.ec == std::errc() && result.ptr == end;
  } else {
    const auto number = base::parse_decimal(token.text);
    is_read = number.has_value();
    expr->number = number.value_or(0.0);
  }
  if (!is_read) fail(token.line, "the number " + token.text + " is out of range");
  return expr;
}

Expr* ExpressionParser::parse_primary() {
  const Token token = next();
  if (token.kind == TokenKind::kName) return parse_name(token);
  if (token.kind == TokenKind::kString || token.kind == TokenKind::kInt ||
      token.kind == TokenKind::kFloat) {
    return parse_literal(token);
  }
  if (token.kind == TokenKind::kOperator && token.text == "(") {
    if (skip_op(")")) return make(ExprKind::kTuple, token.line);
    Expr* expr = parse_tuple();
    expect_op(")");
    return expr;
  }
  if (token.kind == TokenKind::kOperator && token.text == "[") {
    Expr* expr = make(ExprKind::kList, token.line);
    parse_items("]", expr);
    return finish(expr);
  }
  if (token.kind == TokenKind::kOperator && token.text == "{") {
    Expr* expr = make(ExprKind::kDict, token.line);
    parse_dict(expr);
    return finish(expr);
  }
  fail(token.line, "expected an expression, found '" + token.text + "'");
}

void ExpressionParser::parse_items(std::string_view close, Expr* into) {
  while (!peek_op(close)) {
    if (!into->args.empty()) expect_op(",");
    if (peek_op(close)) break;
    into->args.push_back(parse_expression());
  }
  expect_op(close);
}

void ExpressionParser::parse_dict(Expr* into) {
  while (!peek_op("}")) {
    if (!into->args.empty()) expect_op(",");
    if (peek_op("}")) break;
    into->args.push_back(parse_expression());
    expect_op(":");
    into->args.push_back(parse_expression());
  }
  expect_op("}");
}

void ExpressionParser::parse_arguments(Expr* into) {
  expect_op("(");
  bool first = true;
  while (!peek_op(")")) {
    if (!first) expect_op(",");
    if (peek_op(")")) break;
    first = false;
    if (peek_op("*") || peek_op("**")) fail(line(), "* and ** in calls are not supported");
    if (peek().kind == TokenKind::kName && peek_op("=", 1)) {
      const std::string name = next().text;
      next();
      into->kwargs.emplace_back(name, parse_expression());
    } else {
      if (!into->kwargs.empty()) fail(line(), "a positional argument after a named one");
      into->args.push_back(parse_expression());
    }
  }
  expect_op(")");
}

Expr* ExpressionParser::parse_postfix(Expr* expr) {
  while (true) {
    if (peek_op(".")) {
      const int line = next().line;
      const Token token = next();
      Expr* access = make(ExprKind::kAttr, line);
      access->target = expr;
      access->text = token.text;
      if (token.kind == TokenKind::kInt) {
        access->kind = ExprKind::kItem;
        access->args = {parse_literal(token)};
      } else if (token.kind != TokenKind::kName) {
        fail(line, "expected a name after '.', found '" + token.text + "'");
      }
      expr = finish(access);
    } else if (peek_op("[")) {
      expr = parse_subscript(expr);
    } else if (peek_op("(")) {
      Expr* call = make(ExprKind::kCall, line());
      call->target = expr;
      parse_arguments(call);
      expr = finish(call);
    } else {
      return expr;
    }
  }
}

Expr* ExpressionParser::parse_subscript(Expr* target) {
  Expr* expr = make(ExprKind::kItem, next().line);
  expr->target = target;
  Expr* parts[3] = {nullptr, nullptr, nullptr};
  size_t count = 0;
  while (true) {
    if (!peek_op(":") && !peek_op("]")) parts[count] = parse_expression();
    if (count == 2 || !skip_op(":")) break;
    ++count;
  }
  expect_op("]");
  if (count > 0) {
    expr->kind = ExprKind::kSlice;
    expr->args = {parts[0], parts[1], parts[2]};
  } else if (parts[0] == nullptr) {
    fail(expr->line, "an empty subscript");
  } else {
    expr->args = {parts[0]};
  }
  return finish(expr);
}

Expr* ExpressionParser::parse_filters(Expr* target, bool named) {
  while (named || skip_op("|")) {
    named = false;
    Expr* filter = make(ExprKind::kFilter, line());
    filter->text = expect_name();
    filter->target = target;
    if (peek_op("(")) parse_arguments(filter);
    target = finish(filter);
  }
  return target;
}

Expr* ExpressionParser::parse_test(Expr* target) {
  Expr* test = make(ExprKind::kTest, next().line);
  const bool negated = skip_name("not");
  test->target = target;
  test->text = expect_name();
  const TokenKind kind = peek().kind;
  const bool is_word = peek_name("else") || peek_name("or") || peek_name("and") || peek_name("if");
  if (peek_op("(")) {
    parse_arguments(test);
  } else if ((kind == TokenKind::kName && !is_word) || kind == TokenKind::kString ||
             kind == TokenKind::kInt || kind == TokenKind::kFloat || peek_op("[") || peek_op("{")) {
    if (peek_name("is")) fail(line(), "tests cannot be chained");
    test->args.push_back(parse_postfix(parse_primary()));
  }
  finish(test);
  if (!negated) return test;
  Expr* negation = make(ExprKind::kNot, test->line);
  negation->args = {test};
  return finish(negation);
}

Expr* ExpressionParser::parse_single_target(bool with_namespace) {
  if (skip_op("(")) {
    const DepthGuard guard(*this);
    Expr* inner = parse_target(with_namespace);
    expect_op(")");
    return inner;
  }
  const Token token = peek();
  const std::string name = expect_name();
  Expr* target = make(ExprKind::kName, token.line);
  target->text = name;
  if (with_namespace && skip_op(".")) {
    target->kind = ExprKind::kNsRef;
    target->names = {name};
    target->text = expect_name();
  }
  return target;
}

Expr* ExpressionParser::parse_target(bool with_namespace) {
  Expr* first = parse_single_target(with_namespace);
  if (!peek_op(",")) return first;
  Expr* tuple = make(ExprKind::kTuple, first->line);
  tuple->args.push_back(first);
  while (skip_op(",")) {
    if (at_expression_end()) break;
    tuple->args.push_back(parse_single_target(with_namespace));
  }
  return finish(tuple);
}

}  // namespace mlxn::tokenizer::jinja
