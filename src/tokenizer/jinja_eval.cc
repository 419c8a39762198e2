// SPDX-License-Identifier: Apache-2.0
// Expressions.
#include <fmt/format.h>

#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {

std::optional<Value> Args::get(size_t index, std::string_view name) const {
  if (index < positional.size()) return positional[index];
  if (name.empty()) return std::nullopt;
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::string text_of(Interpreter& in, const Value& value, std::string_view what) {
  if (!value.is(Type::kString)) {
    in.fail(fmt::format("{} must be a string, not {}", what, type_name(value)));
  }
  in.heap().scan(value);
  return *value.string;
}

int64_t int_of(Interpreter& in, const Value& value, std::string_view what) {
  if (!value.is(Type::kInt) && !value.is(Type::kBool)) {
    in.fail(fmt::format("{} must be an integer, not {}", what, type_name(value)));
  }
  return value.as_int();
}

Value Interpreter::eval(const Expr& expr) {
  const DepthGuard guard(*this);
  heap_.line = expr.line;
  heap_.step();
  switch (expr.kind) {
    case ExprKind::kNone:
      return none();
    case ExprKind::kBool:
      return make_bool(expr.integer != 0);
    case ExprKind::kInt:
      return make_int(expr.integer);
    case ExprKind::kFloat:
      return make_float(expr.number);
    case ExprKind::kString: {
      Value value;
      value.type = Type::kString;
      value.string = &expr.text;
      return value;
    }
    case ExprKind::kName:
      return eval_name(expr);
    case ExprKind::kList:
      return heap_.list(eval_all(expr.args));
    case ExprKind::kTuple:
      return heap_.tuple(eval_all(expr.args));
    case ExprKind::kDict:
      return eval_dict(expr);
    case ExprKind::kAttr:
      return get_attribute(eval(*expr.target), expr.text);
    case ExprKind::kItem: {
      const Value target = eval(*expr.target);
      return get_item(target, eval(*expr.args[0]));
    }
    case ExprKind::kSlice:
      return eval_slice(expr);
    case ExprKind::kCall:
      return eval_call(expr);
    case ExprKind::kFilter:
      return eval_filter(expr, nullptr);
    case ExprKind::kTest: {
      const Value target = eval(*expr.target);
      return make_bool(apply_test(*this, expr.text, target, eval_args(expr)));
    }
    case ExprKind::kNot:
      return make_bool(!truthy(eval(*expr.args[0])));
    case ExprKind::kNegate: {
      const Value value = eval(*expr.args[0]);
      if (value.is(Type::kFloat)) return make_float(-value.number);
      return arithmetic(*this, "-", make_int(0), value);
    }
    case ExprKind::kPlus:
      return arithmetic(*this, "+", make_int(0), eval(*expr.args[0]));
    case ExprKind::kBinary:
      return eval_binary(expr);
    case ExprKind::kCompare:
      return eval_compare(expr);
    case ExprKind::kAnd: {
      const Value left = eval(*expr.args[0]);
      return truthy(left) ? eval(*expr.args[1]) : left;
    }
    case ExprKind::kOr: {
      const Value left = eval(*expr.args[0]);
      return truthy(left) ? left : eval(*expr.args[1]);
    }
    case ExprKind::kConcat:
      return eval_concat(expr);
    case ExprKind::kCond:
      if (truthy(eval(*expr.args[1]))) return eval(*expr.args[0]);
      return expr.args[2] == nullptr ? Value() : eval(*expr.args[2]);
    case ExprKind::kNsRef:
      break;
  }
  fail("an expression that has no value");
}

Value Interpreter::eval_name(const Expr& expr) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    heap_.step();
    const auto found = scope->variables.find(expr.text);
    if (found != scope->variables.end()) return found->second;
  }
  if (const auto function = global_function(expr.text)) return *function;
  Value undefined;
  undefined.string = &expr.text;
  return undefined;
}

Value Interpreter::eval_slice(const Expr& expr) {
  const Value target = eval(*expr.target);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    bounds[i] = expr.args[i] == nullptr ? none() : eval(*expr.args[i]);
  }
  heap_.line = expr.line;
  return slice(*this, target, bounds[0], bounds[1], bounds[2]);
}

std::vector<Value> Interpreter::eval_all(const std::vector<Expr*>& exprs) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const Expr* expr : exprs) values.push_back(eval(*expr));
  return values;
}

Args Interpreter::eval_args(const Expr& expr) {
  Args args;
  args.positional = eval_all(expr.args);
  for (const auto& [name, value] : expr.kwargs) args.named.emplace_back(name, eval(*value));
  heap_.line = expr.line;
  return args;
}

Value Interpreter::eval_call(const Expr& expr) {
  const Value function = eval(*expr.target);
  return call(function, eval_args(expr));
}

Value Interpreter::eval_filter(const Expr& expr, const Value* target) {
  Value value;
  if (expr.target == nullptr) {
    value = *target;
  } else if (expr.target->kind == ExprKind::kFilter && target != nullptr) {
    value = eval_filter(*expr.target, target);
  } else {
    value = eval(*expr.target);
  }
  return apply_filter(*this, expr.text, value, eval_args(expr));
}

Value Interpreter::eval_dict(const Expr& expr) {
  Value dict = heap_.dict();
  for (size_t i = 0; i + 1 < expr.args.size(); i += 2) {
    const Value key = eval(*expr.args[i]);
    heap_.set(*dict.dict, key, eval(*expr.args[i + 1]));
  }
  return dict;
}

Value Interpreter::eval_compare(const Expr& expr) {
  Value left = eval(*expr.args[0]);
  for (size_t i = 0; i < expr.names.size(); ++i) {
    const Value right = eval(*expr.args[i + 1]);
    const std::string& op = expr.names[i];
    heap_.line = expr.line;
    bool holds;
    if (op == "==" || op == "!=") {
      holds = equal(heap_, left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(heap_, right, left) == (op == "in");
    } else {
      const int order = compare(heap_, left, right);
      holds = op == "<" ? order < 0 : op == ">" ? order > 0 : op == "<=" ? order <= 0 : order >= 0;
    }
    if (!holds) return make_bool(false);
    left = right;
  }
  return make_bool(true);
}

Value Interpreter::eval_binary(const Expr& expr) {
  const Value left = eval(*expr.args[0]);
  const Value right = eval(*expr.args[1]);
  heap_.line = expr.line;
  return arithmetic(*this, expr.text, left, right);
}

Value Interpreter::eval_concat(const Expr& expr) {
  std::string text;
  for (const Expr* part : expr.args) {
    text += to_text(heap_, eval(*part));
    heap_.check_text(text.size());
  }
  return heap_.string(std::move(text));
}

Value Interpreter::loop_attribute(const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->size());
  if (name == "index") return make_int(index + 1);
  if (name == "index0") return make_int(index);
  if (name == "revindex") return make_int(size - index);
  if (name == "revindex0") return make_int(size - index - 1);
  if (name == "first") return make_bool(index == 0);
  if (name == "last") return make_bool(index + 1 == size);
  if (name == "length") return make_int(size);
  if (name == "previtem") return index > 0 ? (*loop.items)[loop.index - 1] : Value();
  if (name == "nextitem") return index + 1 < size ? (*loop.items)[loop.index + 1] : Value();
  return Value();
}

Value Interpreter::get_attribute(const Value& value, const std::string& name) {
  Value undefined;
  undefined.string = &name;
  if (value.is(Type::kUndefined)) {
    fail(fmt::format("'{}' of '{}', which is undefined", name,
                     value.string == nullptr ? "a value" : *value.string));
  }
  if (value.is(Type::kLoop)) {
    if (name == "cycle") return heap_.method(value, name);
    return loop_attribute(*value.loop, name);
  }
  if (has_method(value, name)) return heap_.method(value, name);
  if (value.is(Type::kDict) || value.is(Type::kNamespace)) {
    return find(*value.dict, name).value_or(undefined);
  }
  return undefined;
}

Value Interpreter::get_item(const Value& value, const Value& key) {
  if (value.is(Type::kUndefined)) {
    fail(fmt::format("an item of '{}', which is undefined",
                     value.string == nullptr ? "a value" : *value.string));
  }
  if (value.is(Type::kDict)) {
    if (const auto found = find(heap_, *value.dict, key)) return *found;
  } else if ((value.is_sequence() || value.is(Type::kString)) &&
             (key.is(Type::kInt) || key.is(Type::kBool))) {
    const auto size = static_cast<int64_t>(length(heap_, value));
    const int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    if (index < 0 || index >= size) return Value();
    if (value.is_sequence()) return value.list->items[static_cast<size_t>(index)];
    return slice(*this, value, make_int(index), make_int(index + 1), none());
  }
  if (key.is(Type::kString)) {
    if (has_method(value, *key.string)) return heap_.method(value, *key.string);
    Value undefined;
    undefined.string = key.string;
    return undefined;
  }
  return Value();
}

}  // namespace mlxn::tokenizer::jinja
