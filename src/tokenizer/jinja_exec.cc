// SPDX-License-Identifier: Apache-2.0
// Statements, macros and calls.
#include <fmt/format.h>

#include "tokenizer/jinja_interpreter.h"

namespace mlxn::tokenizer::jinja {
namespace {

// A level takes a few hundred bytes of stack; published templates use about 60.
constexpr int kMaxDepth = 800;

// Sets a variable for the length of a block.
template <typename T>
class Restore {
 public:
  Restore(T& variable, T value) : variable_(variable), old_(std::move(variable)) {
    variable_ = std::move(value);
  }
  ~Restore() { variable_ = std::move(old_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& variable_;
  T old_;
};

std::shared_ptr<Scope> inner_scope(const std::shared_ptr<Scope>& parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = parent;
  return scope;
}

}  // namespace

Interpreter::DepthGuard::DepthGuard(Interpreter& interpreter) : interpreter_(interpreter) {
  if (++interpreter.depth_ > kMaxDepth) {
    --interpreter.depth_;
    interpreter.fail("the template recurses too deeply");
  }
}

Interpreter::Interpreter(Heap& heap, std::optional<int64_t> now)
    : heap_(heap), now_(now), scope_(std::make_shared<Scope>()) {}

void Interpreter::fail(std::string_view message) const { jinja::fail(heap_.line, message); }

std::string Interpreter::run(const Template& source) { return capture(source.body); }

void Interpreter::print(std::string_view text) {
  heap_.check_text(out_->size() + text.size());
  heap_.charge(text.size());
  out_->append(text);
}

std::string Interpreter::capture(const Body& body) {
  std::string text;
  const Restore<std::string*> redirect(out_, &text);
  const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(scope_));
  exec(body);
  return text;
}

Interpreter::Flow Interpreter::exec(const Body& body) {
  const DepthGuard guard(*this);
  for (const Stmt* stmt : body) {
    const Flow flow = exec(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_scoped(const Body& body) {
  const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(scope_));
  return exec(body);
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt) {
  heap_.line = stmt.line;
  heap_.step();
  switch (stmt.kind) {
    case StmtKind::kData:
      print(stmt.text);
      break;
    case StmtKind::kPrint:
      print(to_text(heap_, eval(*stmt.expr)));
      break;
    case StmtKind::kIf:
      return exec_if(stmt);
    case StmtKind::kFor:
      return exec_for(stmt);
    case StmtKind::kSet:
      assign(*stmt.target, eval(*stmt.expr));
      break;
    case StmtKind::kSetBlock: {
      Value value = heap_.string(capture(stmt.body));
      if (stmt.expr != nullptr) value = eval_filter(*stmt.expr, &value);
      assign(*stmt.target, value);
      break;
    }
    case StmtKind::kMacro:
      scope_->variables[stmt.text] = heap_.macro(make_macro(stmt, stmt.text));
      break;
    case StmtKind::kCall:
      call_block(stmt);
      break;
    case StmtKind::kFilter: {
      const Value body = heap_.string(capture(stmt.body));
      print(to_text(heap_, eval_filter(*stmt.expr, &body)));
      break;
    }
    case StmtKind::kWith:
      return exec_with(stmt);
    case StmtKind::kScope:
      return exec_scoped(stmt.body);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt) {
  for (const auto& [condition, body] : stmt.branches) {
    if (condition == nullptr || truthy(eval(*condition))) return exec(body);
  }
  return Flow::kNext;
}

std::vector<Value> Interpreter::loop_items(const Stmt& stmt) {
  const Value iterable = eval(*stmt.expr);
  heap_.line = stmt.line;
  std::vector<Value> items = iterate(heap_, iterable);
  if (stmt.condition == nullptr) return items;
  std::vector<Value> kept;
  for (const Value& item : items) {
    const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(scope_));
    assign(*stmt.target, item);
    if (truthy(eval(*stmt.condition))) kept.push_back(item);
  }
  return kept;
}

Interpreter::Flow Interpreter::exec_for(const Stmt& stmt) {
  const std::vector<Value> items = loop_items(stmt);
  if (items.empty()) {
    exec_scoped(stmt.else_body);
    return Flow::kNext;
  }
  Loop* loop = nullptr;
  const Value loop_value = heap_.loop(&loop);
  loop->items = &heap_.list(items).list->items;
  for (size_t i = 0; i < items.size(); ++i) {
    const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(scope_));
    heap_.step(3);  // a scope is several objects
    loop->index = i;
    assign(*stmt.target, items[i]);
    scope_->variables["loop"] = loop_value;
    if (exec(stmt.body) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_with(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, value] : stmt.bindings) values.push_back(eval(*value));
  const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(scope_));
  for (size_t i = 0; i < values.size(); ++i) assign(*stmt.bindings[i].first, values[i]);
  return exec(stmt.body);
}

void Interpreter::assign(const Expr& target, const Value& value) {
  heap_.line = target.line;
  if (target.kind == ExprKind::kName) {
    heap_.charge(sizeof(Value));
    scope_->variables[target.text] = value;
    return;
  }
  if (target.kind == ExprKind::kNsRef) {
    Expr name;
    name.text = target.names[0];
    const Value space = eval_name(name);
    if (!space.is(Type::kNamespace)) fail("'" + target.names[0] + "' is not a namespace");
    heap_.set(*space.dict, heap_.string(target.text), value);
    return;
  }
  const std::vector<Value> items = iterate(heap_, value);
  if (items.size() != target.args.size()) {
    fail(fmt::format("{} values for {} names", items.size(), target.args.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.args[i], items[i]);
}

Macro Interpreter::make_macro(const Stmt& stmt, std::string_view name) const {
  return {std::string(name), &stmt.params, &stmt.body, scope_};
}

Value Interpreter::call_macro(const Macro& macro, const Args& args) {
  const DepthGuard guard(*this);
  const auto& params = *macro.params;
  if (args.positional.size() > params.size()) {
    fail(fmt::format("{} takes {} arguments, not {}", macro.name, params.size(),
                     args.positional.size()));
  }
  // Each argument's name is looked for among the parameters' names.
  heap_.step(params.size() + args.named.size() * params.size() / 8);
  heap_.charge(4 * params.size() * sizeof(Value));
  const Restore<std::shared_ptr<Scope>> scope(scope_, inner_scope(macro.scope));
  for (const auto& [name, value] : args.named) {
    bool known = name == "caller";
    for (size_t i = args.positional.size(); i < params.size(); ++i) {
      known = known || params[i].first == name;
    }
    if (!known) fail(fmt::format("{} has no argument '{}' to name", macro.name, name));
    if (name == "caller") scope_->variables["caller"] = value;
  }
  const int line = heap_.line;
  for (size_t i = 0; i < params.size(); ++i) {
    Value value;
    value.string = &params[i].first;
    if (const auto given = args.get(i, params[i].first)) {
      value = *given;
    } else if (params[i].second != nullptr) {
      value = eval(*params[i].second);
    }
    scope_->variables[params[i].first] = value;
  }
  const Value result = heap_.string(capture(*macro.body));
  heap_.line = line;
  return result;
}

void Interpreter::call_block(const Stmt& stmt) {
  Args args = eval_args(*stmt.expr);
  args.named.emplace_back("caller", heap_.macro(make_macro(stmt, "caller")));
  const Value function = eval(*stmt.expr->target);
  heap_.line = stmt.line;
  print(to_text(heap_, call(function, args)));
}

Value Interpreter::call(const Value& function, const Args& args) {
  switch (function.type) {
    case Type::kMacro:
      return call_macro(*function.macro, args);
    case Type::kMethod:
      return call_method(*this, *function.method, args);
    case Type::kFunction:
      return call_function(*this, function.name, args);
    case Type::kUndefined:
      fail(fmt::format("a call of '{}', which is undefined",
                       function.string == nullptr ? "a value" : *function.string));
    default:
      fail(fmt::format("a call of {}", type_name(function)));
  }
}

}  // namespace mlxn::tokenizer::jinja
