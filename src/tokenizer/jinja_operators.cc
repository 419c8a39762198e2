// SPDX-License-Identifier: Apache-2.0
// Arithmetic and slices.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

Value float_arithmetic(Interpreter& in, std::string_view op, double a, double b) {
  if (op == "+") return make_float(a + b);
  if (op == "-") return make_float(a - b);
  if (op == "*") return make_float(a * b);
  if (op == "**") return make_float(std::pow(a, b));
  if (b == 0) in.fail("division by zero");
  if (op == "/") return make_float(a / b);
  const double remainder = std::fmod(a, b);
  const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == "%") return make_float(adjust ? remainder + b : remainder);
  return make_float(std::floor(a / b));
}

Value power(Interpreter& in, int64_t base, int64_t exponent) {
  if (exponent < 0)
    return make_float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  // Beyond 64 factors only 0, 1 and -1 stay in range.
  if (exponent > 64 && (base > 1 || base < -1)) in.fail("an integer exceeds 64 bits");
  if (exponent > 64) exponent = 2 + exponent % 2;
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) in.fail("an integer exceeds 64 bits");
  }
  return make_int(result);
}

Value int_arithmetic(Interpreter& in, std::string_view op, int64_t a, int64_t b) {
  int64_t result;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return power(in, a, b);
  } else {
    if (b == 0) in.fail("division by zero");
    if (op == "/") return make_float(static_cast<double>(a) / static_cast<double>(b));
    overflow = a == INT64_MIN && b == -1;
    if (!overflow) {
      // Python rounds quotients down, and remainders take the sign of the divisor.
      const int64_t remainder = a % b;
      const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
      result = op == "%" ? remainder + (adjust ? b : 0) : a / b - (adjust ? 1 : 0);
    }
  }
  if (overflow) in.fail("an integer exceeds 64 bits");
  return make_int(result);
}

// `times` copies of `items`, made of few long ones.
template <typename Items>
Items copies_of(const Items& items, uint64_t times) {
  Items all;
  all.resize(items.size() * times);
  const auto at = [&](size_t i) { return all.begin() + static_cast<ptrdiff_t>(i); };
  size_t done = std::min(items.size(), all.size());
  std::copy_n(items.begin(), done, all.begin());
  while (done > 0 && done < all.size()) {
    const size_t count = std::min(done, all.size() - done);
    std::copy_n(all.begin(), count, at(done));
    done += count;
  }
  return all;
}

Value repeat(Interpreter& in, const Value& value, int64_t count) {
  Heap& heap = in.heap();
  const auto times = static_cast<uint64_t>(std::max<int64_t>(count, 0));
  const uint64_t size =
      value.is(Type::kString) ? value.string->size() : value.list->items.size() * sizeof(Value);
  if (size > 0 && times > kMaxText / size) in.fail("a repetition is longer than 16 MiB");
  if (value.is(Type::kString)) return heap.string(copies_of(*value.string, times));
  std::vector<Value> items = copies_of(value.list->items, times);
  return value.is(Type::kList) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

// Byte offsets of the characters of a text, and its end. Texts are at most 16 MiB.
std::vector<uint32_t> char_offsets(Heap& heap, const std::string& text) {
  const size_t count = count_chars(text) + 1;
  heap.charge(count * sizeof(uint32_t));
  std::vector<uint32_t> offsets;
  offsets.reserve(count);
  for (size_t pos = 0; pos < text.size(); pos += utf8_step(text, pos).length) {
    offsets.push_back(static_cast<uint32_t>(pos));
  }
  offsets.push_back(static_cast<uint32_t>(text.size()));
  return offsets;
}

// The indices that a slice takes from `size` items: begin, begin + stride, ... before `end`.
struct Indices {
  int64_t begin;
  int64_t end;
  int64_t stride;

  int64_t count() const {
    const int64_t distance = stride > 0 ? end - begin : begin - end;
    const int64_t size = stride > 0 ? stride : -stride;
    return distance <= 0 ? 0 : (distance - 1) / size + 1;
  }
};

Indices slice_indices(Interpreter& in, int64_t size, const Value& start, const Value& stop,
                      const Value& step) {
  const int64_t stride = step.is(Type::kNone) ? 1 : int_of(in, step, "a slice step");
  if (stride == 0) in.fail("a slice step of zero");
  const int64_t low = stride < 0 ? -1 : 0;
  const int64_t high = stride < 0 ? size - 1 : size;
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (value.is(Type::kNone)) return otherwise;
    const int64_t index = int_of(in, value, "a slice bound");
    return std::clamp(index < 0 ? index + size : index, low, high);
  };
  const int64_t begin = bound(start, stride < 0 ? high : low);
  const int64_t end = bound(stop, stride < 0 ? low : high);
  // |stride| > size takes one item at most, and must not overflow the index.
  return {begin, end, std::clamp(stride, -size - 1, size + 1)};
}

// Byte offset of the character `count` characters behind `pos`.
size_t skip_chars(const std::string& text, size_t pos, int64_t count) {
  for (; count > 0; --count) pos += utf8_step(text, pos).length;
  return pos;
}

std::string slice_text(Heap& heap, const std::string& text, const Indices& indices) {
  const int64_t count = indices.count();
  if (count == 0) return {};
  if (indices.stride == 1 || count == 1) {
    const size_t begin = skip_chars(text, 0, indices.begin);
    return text.substr(begin, skip_chars(text, begin, count) - begin);
  }
  const std::vector<uint32_t> offsets = char_offsets(heap, text);
  std::string out;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(indices.begin + i * indices.stride);
    out.append(text, offsets[at], offsets[at + 1] - offsets[at]);
  }
  return out;
}

}  // namespace

Value arithmetic(Interpreter& in, std::string_view op, const Value& a, const Value& b) {
  Heap& heap = in.heap();
  if (a.is_number() && b.is_number()) {
    if (a.is(Type::kFloat) || b.is(Type::kFloat)) {
      return float_arithmetic(in, op, a.as_double(), b.as_double());
    }
    return int_arithmetic(in, op, a.as_int(), b.as_int());
  }
  if (op == "+" && a.is(Type::kString) && b.is(Type::kString)) {
    heap.check_text(a.string->size() + b.string->size());
    return heap.string(*a.string + *b.string);
  }
  if (op == "+" && a.is_sequence() && a.type == b.type) {
    heap.charge((a.list->items.size() + b.list->items.size()) * sizeof(Value));
    std::vector<Value> items = a.list->items;
    items.insert(items.end(), b.list->items.begin(), b.list->items.end());
    return a.is(Type::kList) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
  }
  const auto repeats = [](const Value& x, const Value& n) {
    return (x.is(Type::kString) || x.is_sequence()) && (n.is(Type::kInt) || n.is(Type::kBool));
  };
  if (op == "*" && repeats(a, b)) return repeat(in, a, b.as_int());
  if (op == "*" && repeats(b, a)) return repeat(in, b, a.as_int());
  for (const Value* side : {&a, &b}) {
    if (side->is(Type::kUndefined) && side->string != nullptr) {
      in.fail(fmt::format("'{}' is undefined, in an operation '{}'", *side->string, op));
    }
  }
  in.fail(fmt::format("{} {} {}", type_name(a), op, type_name(b)));
}

Value slice(Interpreter& in, const Value& target, const Value& start, const Value& stop,
            const Value& step) {
  Heap& heap = in.heap();
  if (target.is_sequence()) {
    const auto size = static_cast<int64_t>(target.list->items.size());
    const Indices indices = slice_indices(in, size, start, stop, step);
    const int64_t count = indices.count();
    heap.step(static_cast<uint64_t>(count));
    std::vector<Value> items;
    items.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      items.push_back(target.list->items[static_cast<size_t>(indices.begin + i * indices.stride)]);
    }
    return target.is(Type::kList) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
  }
  if (!target.is(Type::kString)) in.fail(fmt::format("a slice of {}", type_name(target)));
  const std::string& text = *target.string;
  heap.scan(2 * text.size());
  const auto size = static_cast<int64_t>(count_chars(text));
  const Indices indices = slice_indices(in, size, start, stop, step);
  return heap.string(slice_text(heap, text, indices));
}

}  // namespace mlxn::tokenizer::jinja
