// SPDX-License-Identifier: Apache-2.0
// Tests: value is name(args).
#include <fmt/format.h>

#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_strings.h"

namespace mlxn::tokenizer::jinja {
namespace {

Value operand(Interpreter& in, const Args& args) {
  if (args.positional.empty()) in.fail("the test needs a value to compare with");
  return args.positional[0];
}

int order(Interpreter& in, const Value& value, const Args& args) {
  return compare(in.heap(), value, operand(in, args));
}

int64_t remainder(Interpreter& in, const Value& value, int64_t divisor) {
  if (divisor == 0) in.fail("division by zero");
  return divisor == -1 ? 0 : int_of(in, value, "the tested value") % divisor;
}

bool is_iterable(const Value& value) {
  return value.is_sequence() || value.is(Type::kString) || value.is(Type::kDict) ||
         value.is(Type::kUndefined);
}

bool same_object(const Value& a, const Value& b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case Type::kNone:
    case Type::kUndefined:
      return true;
    case Type::kBool:
      return a.boolean == b.boolean;
    case Type::kInt:
      return a.integer == b.integer;
    case Type::kFloat:
      return a.number == b.number;
    default:
      return a.list == b.list;
  }
}

// Tests of the kind of a value, without arguments.
std::optional<bool> kind_test(std::string_view name, const Value& v) {
  if (name == "defined") return !v.is(Type::kUndefined);
  if (name == "undefined") return v.is(Type::kUndefined);
  if (name == "none") return v.is(Type::kNone);
  if (name == "string") return v.is(Type::kString);
  if (name == "mapping") return v.is(Type::kDict);
  if (name == "iterable") return is_iterable(v);
  if (name == "sequence") return is_iterable(v);
  if (name == "number") return v.is_number();
  if (name == "integer") return v.is(Type::kInt);
  if (name == "float") return v.is(Type::kFloat);
  if (name == "boolean") return v.is(Type::kBool);
  if (name == "true") return v.is(Type::kBool) && v.boolean;
  if (name == "false") return v.is(Type::kBool) && !v.boolean;
  if (name == "callable") return v.is_callable();
  return std::nullopt;
}

}  // namespace

bool apply_test(Interpreter& in, std::string_view name, const Value& target, const Args& args) {
  if (const auto result = kind_test(name, target)) return *result;
  if (name == "equalto" || name == "eq" || name == "==") {
    return equal(in.heap(), target, operand(in, args));
  }
  if (name == "ne" || name == "!=") return !equal(in.heap(), target, operand(in, args));
  if (name == "lt" || name == "lessthan" || name == "<") return order(in, target, args) < 0;
  if (name == "le" || name == "<=") return order(in, target, args) <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return order(in, target, args) > 0;
  if (name == "ge" || name == ">=") return order(in, target, args) >= 0;
  if (name == "in") return contains(in.heap(), operand(in, args), target);
  if (name == "sameas") return same_object(target, operand(in, args));
  if (name == "odd") return remainder(in, target, 2) != 0;
  if (name == "even") return remainder(in, target, 2) == 0;
  if (name == "divisibleby") {
    return remainder(in, target, int_of(in, operand(in, args), "the divisor")) == 0;
  }
  if (name == "lower") return is_case(to_text(in.heap(), target), false);
  if (name == "upper") return is_case(to_text(in.heap(), target), true);
  in.fail(fmt::format("unknown test '{}'", name));
}

}  // namespace mlxn::tokenizer::jinja
