// SPDX-License-Identifier: Apache-2.0
// Statements of a template.
#include "tokenizer/jinja_parser.h"

#include <fmt/format.h>

#include "mlxn/error.h"

namespace mlxn::tokenizer::jinja {

void fail(int line, std::string_view message) {
  throw Error(
      ErrorKind::kTemplate,
      ErrorDetail{fmt::format("chat template line {}", line), std::string(message), {}, {}});
}

namespace {

class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body parse_until(std::initializer_list<std::string_view> ends) {
    const DepthGuard guard(*this);
    Body body;
    while (true) {
      const Token& token = next();
      switch (token.kind) {
        case TokenKind::kData: {
          Stmt* stmt = make(StmtKind::kData, token.line);
          stmt->text = token.text;
          body.push_back(stmt);
          break;
        }
        case TokenKind::kPrintBegin: {
          Stmt* stmt = make(StmtKind::kPrint, token.line);
          stmt->expr = parse_tuple();
          expect(TokenKind::kPrintEnd, "}}");
          body.push_back(stmt);
          break;
        }
        case TokenKind::kBlockBegin: {
          for (const std::string_view end : ends) {
            if (peek_name(end)) return body;
          }
          if (Stmt* stmt = parse_statement()) body.push_back(stmt);
          break;
        }
        default:
          if (ends.size() == 0) return body;
          fail(token.line, fmt::format("the template ends before {}", *ends.begin()));
      }
    }
  }

 private:
  Stmt* make(StmtKind kind, int line) {
    Stmt& stmt = out_.stmts.emplace_back();
    stmt.kind = kind;
    stmt.line = line;
    return &stmt;
  }

  void end_block() { expect(TokenKind::kBlockEnd, "%}"); }

  // The body up to `end`, and that tag.
  Body body_until(std::string_view end) {
    end_block();
    Body body = parse_until({end});
    next();
    end_block();
    return body;
  }

  Stmt* parse_statement() {
    const Token token = next();
    if (token.kind != TokenKind::kName) fail(token.line, "a tag without a name");
    const std::string& name = token.text;
    if (name == "if") return parse_if(token.line);
    if (name == "for") return parse_for(token.line);
    if (name == "set") return parse_set(token.line);
    if (name == "macro") return parse_macro(token.line);
    if (name == "call") return parse_call_block(token.line);
    if (name == "filter") return parse_filter_block(token.line);
    if (name == "with") return parse_with(token.line);
    if (name == "generation") {
      Stmt* stmt = make(StmtKind::kScope, token.line);
      stmt->body = body_until("endgeneration");
      return stmt;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(token.line, name + " outside of a loop");
      end_block();
      return make(name == "break" ? StmtKind::kBreak : StmtKind::kContinue, token.line);
    }
    fail(token.line, "unknown tag '" + name + "'");
  }

  Stmt* parse_if(int line) {
    Stmt* stmt = make(StmtKind::kIf, line);
    Expr* condition = parse_tuple(false);
    end_block();
    while (true) {
      stmt->branches.emplace_back(condition, parse_until({"elif", "else", "endif"}));
      const std::string word = next().text;
      if (word == "elif") {
        condition = parse_tuple(false);
        end_block();
        continue;
      }
      end_block();
      if (word == "else") {
        stmt->branches.emplace_back(nullptr, parse_until({"endif"}));
        next();
        end_block();
      }
      return stmt;
    }
  }

  Stmt* parse_for(int line) {
    Stmt* stmt = make(StmtKind::kFor, line);
    stmt->target = parse_target(false);
    if (!skip_name("in")) fail(line, "for without in");
    stmt->expr = parse_tuple(false);
    if (skip_name("if")) stmt->condition = parse_expression();
    if (peek_name("recursive")) fail(line, "recursive loops are not supported");
    end_block();
    ++loops_;
    stmt->body = parse_until({"endfor", "else"});
    --loops_;
    const bool has_else = next().text == "else";
    end_block();
    if (has_else) {
      stmt->else_body = parse_until({"endfor"});
      next();
      end_block();
    }
    return stmt;
  }

  Stmt* parse_set(int line) {
    Expr* target = parse_target(true);
    if (skip_op("=")) {
      Stmt* stmt = make(StmtKind::kSet, line);
      stmt->target = target;
      stmt->expr = parse_tuple();
      end_block();
      return stmt;
    }
    Stmt* stmt = make(StmtKind::kSetBlock, line);
    stmt->target = target;
    if (peek_op("|")) stmt->expr = parse_filters(nullptr);
    stmt->body = body_until("endset");
    return stmt;
  }

  std::vector<std::pair<std::string, Expr*>> parse_params() {
    std::vector<std::pair<std::string, Expr*>> params;
    expect_op("(");
    while (!peek_op(")")) {
      if (!params.empty()) expect_op(",");
      if (peek_op(")")) break;
      const std::string name = expect_name();
      Expr* otherwise = skip_op("=") ? parse_expression() : nullptr;
      if (otherwise == nullptr && !params.empty() && params.back().second != nullptr) {
        fail(line(), "a parameter without default after one with");
      }
      params.emplace_back(name, otherwise);
    }
    expect_op(")");
    return params;
  }

  // A loop around the definition is no loop for break and continue inside.
  Body callable_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = body_until(end);
    loops_ = loops;
    return body;
  }

  Stmt* parse_macro(int line) {
    Stmt* stmt = make(StmtKind::kMacro, line);
    stmt->text = expect_name();
    stmt->params = parse_params();
    stmt->body = callable_body("endmacro");
    return stmt;
  }

  Stmt* parse_call_block(int line) {
    Stmt* stmt = make(StmtKind::kCall, line);
    if (peek_op("(")) stmt->params = parse_params();
    stmt->expr = parse_expression();
    if (stmt->expr->kind != ExprKind::kCall) fail(line, "call without a call");
    stmt->body = callable_body("endcall");
    return stmt;
  }

  Stmt* parse_filter_block(int line) {
    Stmt* stmt = make(StmtKind::kFilter, line);
    stmt->expr = parse_filters(nullptr, true);
    stmt->body = body_until("endfilter");
    return stmt;
  }

  Stmt* parse_with(int line) {
    Stmt* stmt = make(StmtKind::kWith, line);
    while (peek().kind != TokenKind::kBlockEnd) {
      if (!stmt->bindings.empty()) expect_op(",");
      Expr* target = parse_target(false);
      expect_op("=");
      stmt->bindings.emplace_back(target, parse_expression());
    }
    stmt->body = body_until("endwith");
    return stmt;
  }

  int loops_ = 0;
};

}  // namespace

Template parse(std::string_view source) {
  Template result;
  StatementParser parser(tokenize(source), result);
  result.body = parser.parse_until({});
  return result;
}

}  // namespace mlxn::tokenizer::jinja
