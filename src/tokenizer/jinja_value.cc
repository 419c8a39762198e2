// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja_strings.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

constexpr uint64_t kStepsPerMessage = 20'000;
constexpr uint64_t kStepsPerByte = 8;
constexpr uint64_t kBytesPerByte = 32;
// What an object and an entry of a dict cost beside their contents.
constexpr uint64_t kObjectBytes = 64;
constexpr uint64_t kEntryBytes = 128;
constexpr int kMaxValueDepth = 100;

void check_depth(const Heap& heap, int depth) {
  if (depth > kMaxValueDepth) fail(heap.line, "a value nests too deeply");
}

// Equal keys have equal texts: 1, 1.0 and true are one key.
std::string key_of(Heap& heap, const Value& key) {
  heap.scan(key);
  switch (key.type) {
    case Type::kString:
      return "s" + *key.string;
    case Type::kNone:
      return "n";
    case Type::kBool:
    case Type::kInt:
      return "i" + std::to_string(key.as_int());
    case Type::kFloat:
      if (key.number == std::floor(key.number) && std::abs(key.number) < 0x1p62) {
        return "i" + std::to_string(static_cast<int64_t>(key.number));
      }
      return "f" + float_text(key.number);
    default:
      fail(heap.line, fmt::format("{} cannot be a key", type_name(key)));
  }
}

}  // namespace

Value none() {
  Value value;
  value.type = Type::kNone;
  return value;
}

Value make_bool(bool boolean) {
  Value value;
  value.type = Type::kBool;
  value.boolean = boolean;
  return value;
}

Value make_int(int64_t integer) {
  Value value;
  value.type = Type::kInt;
  value.integer = integer;
  return value;
}

Value make_float(double number) {
  Value value;
  value.type = Type::kFloat;
  value.number = number;
  return value;
}

Value make_function(const char* name) {
  Value value;
  value.type = Type::kFunction;
  value.name = name;
  return value;
}

Budget Budget::for_input(size_t messages, size_t text_bytes) {
  Budget budget;
  budget.steps += kStepsPerMessage * messages + kStepsPerByte * text_bytes;
  budget.bytes += kBytesPerByte * text_bytes;
  return budget;
}

void Heap::step(uint64_t count) {
  if (count > budget_.steps) fail(line, "the template runs for too long");
  budget_.steps -= count;
}

void Heap::charge(uint64_t bytes) {
  if (bytes > budget_.bytes) fail(line, "the template uses too much memory");
  budget_.bytes -= bytes;
}

void Heap::check_text(size_t bytes) const {
  if (bytes > kMaxText) fail(line, "a text is longer than 16 MiB");
}

void Heap::check_part(size_t bytes) const {
  if (bytes > kMaxPart) fail(line, fmt::format("a text of {} bytes to look for", bytes));
}

Value Heap::string(std::string text) {
  check_text(text.size());
  charge(text.size() + kObjectBytes);
  Value value;
  value.type = Type::kString;
  value.string = &strings_.emplace_back(std::move(text));
  return value;
}

Value Heap::list(std::vector<Value> items) {
  charge(items.size() * sizeof(Value) + kObjectBytes);
  Value value;
  value.type = Type::kList;
  value.list = &lists_.emplace_back(List{std::move(items)});
  return value;
}

Value Heap::tuple(std::vector<Value> items) {
  Value value = list(std::move(items));
  value.type = Type::kTuple;
  return value;
}

Value Heap::dict() {
  charge(2 * kObjectBytes);
  Value value;
  value.type = Type::kDict;
  value.dict = &dicts_.emplace_back();
  return value;
}

Value Heap::name_space() {
  Value value = dict();
  value.type = Type::kNamespace;
  return value;
}

Value Heap::method(Value self, std::string_view name) {
  charge(kObjectBytes);
  Value value;
  value.type = Type::kMethod;
  value.method = &methods_.emplace_back(Method{self, std::string(name)});
  return value;
}

Value Heap::macro(Macro macro) {
  charge(2 * kObjectBytes);
  Value value;
  value.type = Type::kMacro;
  value.macro = &macros_.emplace_back(std::move(macro));
  return value;
}

Value Heap::loop(Loop** out) {
  charge(kObjectBytes);
  *out = &loops_.emplace_back();
  Value value;
  value.type = Type::kLoop;
  value.loop = *out;
  return value;
}

void Heap::append(List& list, Value item) {
  charge(2 * sizeof(Value));  // twice, because vectors grow by doubling
  list.items.push_back(item);
}

void Heap::set(Dict& dict, Value key, Value value) {
  step();
  const std::string text = key_of(*this, key);
  const auto [entry, is_new] = dict.index.try_emplace(text, dict.entries.size());
  if (is_new) {
    charge(kEntryBytes + text.size());
    dict.entries.emplace_back(key, value);
  } else {
    dict.entries[entry->second].second = value;
  }
}

std::string_view type_name(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return "undefined";
    case Type::kNone:
      return "none";
    case Type::kBool:
      return "a boolean";
    case Type::kInt:
      return "an integer";
    case Type::kFloat:
      return "a float";
    case Type::kString:
      return "a string";
    case Type::kList:
      return "a list";
    case Type::kTuple:
      return "a tuple";
    case Type::kDict:
      return "a dict";
    case Type::kNamespace:
      return "a namespace";
    case Type::kLoop:
      return "the loop";
    default:
      return "a function";
  }
}

bool truthy(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
      return value.boolean;
    case Type::kInt:
      return value.integer != 0;
    case Type::kFloat:
      return value.number != 0;
    case Type::kString:
      return !value.string->empty();
    case Type::kList:
    case Type::kTuple:
      return !value.list->items.empty();
    case Type::kDict:
      return !value.dict->entries.empty();
    default:
      return true;
  }
}

std::optional<Value> find(Heap& heap, const Dict& dict, const Value& key) {
  const auto entry = dict.index.find(key_of(heap, key));
  if (entry == dict.index.end()) return std::nullopt;
  return dict.entries[entry->second].second;
}

std::optional<Value> find(const Dict& dict, std::string_view key) {
  const auto entry = dict.index.find("s" + std::string(key));
  if (entry == dict.index.end()) return std::nullopt;
  return dict.entries[entry->second].second;
}

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.step();
  check_depth(heap, depth);
  if (a.is_number() && b.is_number()) {
    if (!a.is(Type::kFloat) && !b.is(Type::kFloat)) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.type != b.type) return false;
  switch (a.type) {
    case Type::kUndefined:
    case Type::kNone:
      return true;
    case Type::kString:
      heap.scan(a);
      return *a.string == *b.string;
    case Type::kList:
    case Type::kTuple:
      return std::equal(
          a.list->items.begin(), a.list->items.end(), b.list->items.begin(), b.list->items.end(),
          [&](const Value& x, const Value& y) { return equal(heap, x, y, depth + 1); });
    case Type::kDict: {
      if (a.dict->entries.size() != b.dict->entries.size()) return false;
      for (const auto& [key, value] : a.dict->entries) {
        const auto other = find(heap, *b.dict, key);
        if (!other || !equal(heap, value, *other, depth + 1)) return false;
      }
      return true;
    }
    default:
      return a.list == b.list;
  }
}

int compare(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.step();
  check_depth(heap, depth);
  if (a.is_number() && b.is_number()) {
    if (!a.is(Type::kFloat) && !b.is(Type::kFloat)) {
      return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
    }
    return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
  }
  if (a.is(Type::kString) && b.is(Type::kString)) {
    heap.scan(a);
    const int order = a.string->compare(*b.string);  // bytes of UTF-8 order as code points do
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.is_sequence() && a.type == b.type) {
    const auto& x = a.list->items;
    const auto& y = b.list->items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (const int order = compare(heap, x[i], y[i], depth + 1)) return order;
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  fail(heap.line, fmt::format("{} and {} have no order", type_name(a), type_name(b)));
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  switch (container.type) {
    case Type::kUndefined:
      return false;
    case Type::kString:
      if (!item.is(Type::kString)) {
        fail(heap.line, fmt::format("'in' with {} in a string", type_name(item)));
      }
      heap.scan(container);
      heap.check_part(item.string->size());
      return find_text(*container.string, *item.string) != std::string::npos;
    case Type::kList:
    case Type::kTuple:
      return std::any_of(container.list->items.begin(), container.list->items.end(),
                         [&](const Value& other) { return equal(heap, other, item); });
    case Type::kDict:
      return find(heap, *container.dict, item).has_value();
    default:
      fail(heap.line, fmt::format("'in' needs a container, not {}", type_name(container)));
  }
}

std::vector<Value> iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.type) {
    case Type::kUndefined:
      break;
    case Type::kList:
    case Type::kTuple:
      heap.charge(value.list->items.size() * sizeof(Value));
      items = value.list->items;
      break;
    case Type::kDict:
      heap.charge(2 * value.dict->entries.size() * sizeof(Value));
      for (const auto& [key, item] : value.dict->entries) items.push_back(key);
      break;
    case Type::kString:
      for (size_t pos = 0; pos < value.string->size();) {
        const size_t size = utf8_step(*value.string, pos).length;
        heap.step(2);
        heap.charge(2 * sizeof(Value));
        items.push_back(heap.string(value.string->substr(pos, size)));
        pos += size;
      }
      break;
    default:
      fail(heap.line, fmt::format("{} cannot be iterated", type_name(value)));
  }
  heap.step(items.size());
  return items;
}

size_t length(Heap& heap, const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      heap.scan(value);
      return count_chars(*value.string);
    case Type::kList:
    case Type::kTuple:
      return value.list->items.size();
    case Type::kDict:
      return value.dict->entries.size();
    default:
      fail(heap.line, fmt::format("{} has no length", type_name(value)));
  }
}

}  // namespace mlxn::tokenizer::jinja
