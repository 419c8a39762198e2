// SPDX-License-Identifier: Apache-2.0
// Methods of values: "text".strip(), {..}.items(), loop.cycle(..).
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizer/jinja_interpreter.h"
#include "tokenizer/jinja_strings.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

constexpr std::array<std::string_view, 30> kStringMethods = {
    "split",        "rsplit",       "splitlines", "strip",     "lstrip",    "rstrip",
    "startswith",   "endswith",     "upper",      "lower",     "title",     "capitalize",
    "replace",      "find",         "rfind",      "index",     "count",     "join",
    "removeprefix", "removesuffix", "isdigit",    "isalpha",   "isalnum",   "isspace",
    "isupper",      "islower",      "isdecimal",  "isnumeric", "partition", "rpartition"};
constexpr std::array<std::string_view, 6> kDictMethods = {"items", "keys",   "values",
                                                          "get",   "update", "copy"};
constexpr std::array<std::string_view, 6> kListMethods = {"append", "extend", "insert",
                                                          "index",  "count",  "pop"};

template <size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value list_of(Interpreter& in, const Parts& parts) {
  if (!parts) in.fail(fmt::format("a text of more than {} parts", kMaxParts));
  Heap& heap = in.heap();
  heap.step(parts->size());
  std::vector<Value> items;
  items.reserve(parts->size());
  for (const std::string_view part : *parts) items.push_back(heap.string(std::string(part)));
  return heap.list(std::move(items));
}

// The argument as text, or none if it is left out or none.
std::optional<std::string> optional_text(Interpreter& in, const Args& args, size_t index,
                                         std::string_view name) {
  const auto value = args.get(index, name);
  if (!value || value->is(Type::kNone)) return std::nullopt;
  return text_of(in, *value, name);
}

std::string required_text(Interpreter& in, const Args& args, size_t index, std::string_view name) {
  const auto value = args.get(index, name);
  if (!value) in.fail(fmt::format("argument '{}' is missing", name));
  return text_of(in, *value, name);
}

Value required(Interpreter& in, const Args& args, size_t index, std::string_view name) {
  const auto value = args.get(index, name);
  if (!value) in.fail(fmt::format("argument '{}' is missing", name));
  return *value;
}

std::string separator_of(Interpreter& in, std::string text) {
  if (text.empty()) in.fail("an empty separator");
  in.heap().check_part(text.size());
  return text;
}

Value split_method(Interpreter& in, const std::string& text, const Args& args, bool from_right) {
  const auto separator = optional_text(in, args, 0, "sep");
  const auto limit = args.get(1, "maxsplit");
  const int64_t count = limit ? int_of(in, *limit, "maxsplit") : -1;
  if (separator) {
    return list_of(in, split_at(text, separator_of(in, *separator), count, from_right));
  }
  if (from_right && count >= 0) in.fail("rsplit at white space with a limit is not supported");
  return list_of(in, split_space(text, count));
}

bool affix_method(Interpreter& in, const std::string& text, const Args& args, bool at_start) {
  const Value affix = required(in, args, 0, "prefix");
  const auto fits = [&](const Value& value) {
    const std::string part = text_of(in, value, "an affix");
    return at_start ? text.starts_with(part) : text.ends_with(part);
  };
  if (!affix.is(Type::kTuple)) return fits(affix);
  return std::any_of(affix.list->items.begin(), affix.list->items.end(), fits);
}

// Position in characters of a position in bytes.
Value position(const std::string& text, size_t byte) {
  if (byte == std::string::npos) return make_int(-1);
  return make_int(static_cast<int64_t>(count_chars(std::string_view(text).substr(0, byte))));
}

Value partition(Heap& heap, const std::string& text, const std::string& separator,
                bool from_right) {
  const size_t hit = from_right ? find_last_text(text, separator) : find_text(text, separator);
  if (hit == std::string::npos) {
    if (from_right) return heap.tuple({heap.string(""), heap.string(""), heap.string(text)});
    return heap.tuple({heap.string(text), heap.string(""), heap.string("")});
  }
  return heap.tuple({heap.string(text.substr(0, hit)), heap.string(separator),
                     heap.string(text.substr(hit + separator.size()))});
}

int64_t count_of(const std::string& text, const std::string& part) {
  if (part.empty()) return static_cast<int64_t>(count_chars(text)) + 1;
  int64_t count = 0;
  for (size_t hit = find_text(text, part); hit != std::string::npos;
       hit = find_text(text, part, hit + part.size())) {
    ++count;
  }
  return count;
}

std::string join_texts(Interpreter& in, const std::string& separator, const Value& list) {
  std::string out;
  bool first = true;
  for (const Value& item : iterate(in.heap(), list)) {
    if (!first) out += separator;
    first = false;
    out += text_of(in, item, "a joined item");
    in.heap().check_text(out.size());
  }
  return out;
}

// Each character that is taken off was looked for among `chars`.
void scan_set(Heap& heap, const std::string& text, const std::string& chars) {
  heap.scan(text.size() * chars.size());
}

std::optional<Value> string_to_string(Interpreter& in, const std::string& text,
                                      std::string_view name, const Args& args) {
  Heap& heap = in.heap();
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const auto chars = optional_text(in, args, 0, "chars");
    if (chars) scan_set(heap, text, *chars);
    return heap.string(std::string(strip(text, chars, name != "rstrip", name != "lstrip")));
  }
  if (name == "upper") return heap.string(to_upper(text));
  if (name == "lower") return heap.string(to_lower(text));
  if (name == "title") return heap.string(title_method(text));
  if (name == "capitalize") return heap.string(capitalize(text));
  if (name == "join") return heap.string(join_texts(in, text, required(in, args, 0, "iterable")));
  if (name == "replace") {
    const auto limit = args.get(2, "count");
    const std::string from = required_text(in, args, 0, "old");
    if (from.empty()) in.fail("replace of an empty text is not supported");
    heap.check_part(from.size());
    const auto result = replace(text, from, required_text(in, args, 1, "new"),
                                limit ? int_of(in, *limit, "count") : -1, kMaxText);
    if (!result) in.fail("a text is longer than 16 MiB");
    return heap.string(*result);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string affix = required_text(in, args, 0, "affix");
    if (name == "removeprefix" && text.starts_with(affix))
      return heap.string(text.substr(affix.size()));
    if (name == "removesuffix" && text.ends_with(affix)) {
      return heap.string(text.substr(0, text.size() - affix.size()));
    }
    return heap.string(text);
  }
  return std::nullopt;
}

Value string_method(Interpreter& in, const std::string& text, std::string_view name,
                    const Args& args) {
  in.heap().scan(text.size());
  if (const auto result = string_to_string(in, text, name, args)) return *result;
  if (name == "split" || name == "rsplit") return split_method(in, text, args, name == "rsplit");
  if (name == "splitlines") return list_of(in, split_lines(text));
  if (name == "startswith") return make_bool(affix_method(in, text, args, true));
  if (name == "endswith") return make_bool(affix_method(in, text, args, false));
  if (name == "isdigit" || name == "isdecimal" || name == "isnumeric") {
    return make_bool(all_in(text, CharClass::kDigit));
  }
  if (name == "isalpha") return make_bool(all_in(text, CharClass::kAlpha));
  if (name == "isalnum") return make_bool(all_in(text, CharClass::kAlnum));
  if (name == "isspace") return make_bool(all_in(text, CharClass::kSpace));
  if (name == "isupper" || name == "islower") return make_bool(is_case(text, name == "isupper"));
  const std::string part = required_text(in, args, 0, "sub");
  in.heap().check_part(part.size());
  if (args.positional.size() > 1) in.fail(fmt::format("{} with bounds is not supported", name));
  if (name == "find") return position(text, find_text(text, part));
  if (name == "rfind") {
    return position(text, find_last_text(text, part));
  }
  if (name == "count") return make_int(count_of(text, part));
  if (name == "index") {
    const size_t hit = find_text(text, part);
    if (hit == std::string::npos) in.fail("index: the text is not there");
    return position(text, hit);
  }
  return partition(in.heap(), text, separator_of(in, part), name == "rpartition");
}

Value dict_method(Interpreter& in, const Value& self, std::string_view name, const Args& args) {
  Heap& heap = in.heap();
  Dict& dict = *self.dict;
  if (name == "get") {
    const Value key = required(in, args, 0, "key");
    return find(heap, dict, key).value_or(args.get(1, "default").value_or(none()));
  }
  if (name == "update") {
    if (const auto other = args.get(0, "")) {
      if (!other->is(Type::kDict)) in.fail("update needs a dict");
      heap.charge(other->dict->entries.size() * sizeof(other->dict->entries[0]));
      const auto copy = other->dict->entries;  // the dict may be updated with itself
      for (const auto& [key, value] : copy) heap.set(dict, key, value);
    }
    for (const auto& [key, value] : args.named) {
      heap.set(dict, heap.string(std::string(key)), value);
    }
    return none();
  }
  heap.step(dict.entries.size());
  if (name == "copy") {
    Value copy = heap.dict();
    for (const auto& [key, value] : dict.entries) heap.set(*copy.dict, key, value);
    return copy;
  }
  heap.charge(2 * dict.entries.size() * sizeof(Value));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries) {
    items.push_back(name == "items" ? heap.tuple({key, value}) : name == "keys" ? key : value);
  }
  return heap.list(std::move(items));
}

Value list_method(Interpreter& in, const Value& self, std::string_view name, const Args& args) {
  Heap& heap = in.heap();
  List& list = *self.list;
  if (name == "index" || name == "count") {
    const Value wanted = required(in, args, 0, "value");
    int64_t count = 0;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (!equal(heap, list.items[i], wanted)) continue;
      if (name == "index") return make_int(static_cast<int64_t>(i));
      ++count;
    }
    if (name == "index") in.fail("index: the value is not in the list");
    return make_int(count);
  }
  if (self.is(Type::kTuple)) in.fail("a tuple cannot be changed");
  if (name == "append") {
    heap.append(list, required(in, args, 0, "object"));
  } else if (name == "extend") {
    for (const Value& item : iterate(heap, required(in, args, 0, "iterable"))) {
      heap.append(list, item);
    }
  } else if (name == "insert") {
    const auto size = static_cast<int64_t>(list.items.size());
    const int64_t index = int_of(in, required(in, args, 0, "index"), "index");
    const int64_t at = std::clamp<int64_t>(index < 0 ? index + size : index, 0, size);
    heap.append(list, required(in, args, 1, "object"));
    heap.step(static_cast<uint64_t>(size) / 16);
    std::rotate(list.items.begin() + at, list.items.end() - 1, list.items.end());
  } else {  // pop
    const auto size = static_cast<int64_t>(list.items.size());
    const auto given = args.get(0, "index");
    const int64_t index = given ? int_of(in, *given, "index") : -1;
    const int64_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) in.fail("pop: no such item");
    heap.step(static_cast<uint64_t>(size - at) / 16);
    const Value item = list.items[static_cast<size_t>(at)];
    list.items.erase(list.items.begin() + at);
    return item;
  }
  return none();
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  switch (self.type) {
    case Type::kString:
      return is_in(kStringMethods, name);
    case Type::kDict:
      return is_in(kDictMethods, name);
    case Type::kList:
    case Type::kTuple:
      return is_in(kListMethods, name);
    default:
      return false;
  }
}

Value call_method(Interpreter& in, const Method& method, const Args& args) {
  const Value& self = method.self;
  switch (self.type) {
    case Type::kString:
      return string_method(in, *self.string, method.name, args);
    case Type::kDict:
      return dict_method(in, self, method.name, args);
    case Type::kLoop:
      if (args.positional.empty()) in.fail("cycle without values");
      return args.positional[self.loop->index % args.positional.size()];
    default:
      return list_method(in, self, method.name, args);
  }
}

}  // namespace mlxn::tokenizer::jinja
