// SPDX-License-Identifier: Apache-2.0
// Filters of sequences and dicts.
#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/jinja_filters.h"
#include "tokenizer/jinja_strings.h"

namespace mlxn::tokenizer::jinja {
namespace {

// item.a.b for "a.b"; whole numbers index.
Value get_path(Interpreter& in, Value item, const std::string& path) {
  const Parts parts = split_at(path, ".", -1, false);
  if (!parts) in.fail("an attribute of too many parts");
  in.heap().step(parts->size());
  for (const std::string_view view : *parts) {
    const std::string part(view);
    const bool number = all_in(part, CharClass::kDigit) && part.size() < 10;
    item = in.get_item(item, number ? make_int(std::stoll(part)) : in.heap().string(part));
  }
  return item;
}

// What items are compared by: an attribute of them perhaps, in lower case unless `case_sensitive`.
Value sort_key(Interpreter& in, Value item, const std::optional<Value>& attribute,
               bool case_sensitive) {
  if (attribute && !attribute->is(Type::kNone)) {
    item = attribute->is(Type::kInt) ? in.get_item(item, *attribute)
                                     : get_path(in, item, text_of(in, *attribute, "attribute"));
  }
  if (!case_sensitive && item.is(Type::kString)) {
    in.heap().scan(item);
    return in.heap().string(to_lower(*item.string));
  }
  return item;
}

struct Keyed {
  Value key;
  Value item;
};

std::vector<Keyed> keyed(Interpreter& in, const Value& target,
                         const std::optional<Value>& attribute, bool case_sensitive) {
  std::vector<Keyed> out;
  for (const Value& item : iterate(in.heap(), target)) {
    out.push_back({sort_key(in, item, attribute, case_sensitive), item});
  }
  return out;
}

void sort_keyed(Interpreter& in, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    const int order = compare(in.heap(), a.key, b.key);
    return reverse ? order > 0 : order < 0;
  });
}

Value items_of(Heap& heap, const std::vector<Keyed>& keyed_items) {
  std::vector<Value> items;
  for (const Keyed& entry : keyed_items) items.push_back(entry.item);
  return heap.list(std::move(items));
}

Value sort_filter(Interpreter& in, const Value& target, const Args& args) {
  auto items = keyed(in, target, args.get(2, "attribute"), flag(args, 1, "case_sensitive"));
  sort_keyed(in, items, flag(args, 0, "reverse"));
  return items_of(in.heap(), items);
}

Value dictsort_filter(Interpreter& in, const Value& target, const Args& args) {
  if (!target.is(Type::kDict)) in.fail("dictsort needs a dict");
  const auto by = args.get(1, "by");
  const bool by_value = by && text_of(in, *by, "by") == "value";
  std::vector<Keyed> entries;
  for (const auto& [key, value] : target.dict->entries) {
    entries.push_back(
        {sort_key(in, by_value ? value : key, std::nullopt, flag(args, 0, "case_sensitive")),
         in.heap().tuple({key, value})});
  }
  sort_keyed(in, entries, flag(args, 2, "reverse"));
  return items_of(in.heap(), entries);
}

Value unique_filter(Interpreter& in, const Value& target, const Args& args) {
  std::vector<Keyed> kept;
  for (const Keyed& entry :
       keyed(in, target, args.get(1, "attribute"), flag(args, 0, "case_sensitive"))) {
    const bool seen = std::any_of(kept.begin(), kept.end(), [&](const Keyed& other) {
      return equal(in.heap(), other.key, entry.key);
    });
    if (!seen) kept.push_back(entry);
  }
  return items_of(in.heap(), kept);
}

Value extreme_filter(Interpreter& in, const Value& target, const Args& args, bool largest) {
  const auto items = keyed(in, target, args.get(1, "attribute"), flag(args, 0, "case_sensitive"));
  if (items.empty()) return Value();
  const Keyed* best = &items[0];
  for (const Keyed& entry : items) {
    const int order = compare(in.heap(), entry.key, best->key);
    if (largest ? order > 0 : order < 0) best = &entry;
  }
  return best->item;
}

Value join_filter(Interpreter& in, const Value& target, const Args& args) {
  const auto separator = args.get(0, "d");
  const auto attribute = args.get(1, "attribute");
  const std::string between = separator ? to_text(in.heap(), *separator) : "";
  std::string out;
  bool first = true;
  for (const Value& item : iterate(in.heap(), target)) {
    if (!first) out += between;
    first = false;
    out += to_text(in.heap(), attribute ? sort_key(in, item, attribute, true) : item);
    in.heap().check_text(out.size());
  }
  return in.heap().string(std::move(out));
}

Args without_first(const Args& args, size_t count) {
  Args rest;
  if (args.positional.size() > count) {
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(count),
                           args.positional.end());
  }
  rest.named = args.named;
  return rest;
}

// map('filter', ...) or map(attribute='name', default=..).
Value map_filter(Interpreter& in, const Value& target, const Args& args) {
  std::vector<Value> out;
  const auto attribute = args.get(SIZE_MAX, "attribute");
  const auto otherwise = args.get(SIZE_MAX, "default");
  if (!attribute && args.positional.empty()) in.fail("map needs a filter or an attribute");
  const Args rest = without_first(args, 1);
  for (const Value& item : iterate(in.heap(), target)) {
    if (attribute) {
      const Value value = sort_key(in, item, attribute, true);
      out.push_back(value.is(Type::kUndefined) && otherwise ? *otherwise : value);
    } else {
      const std::string name = text_of(in, args.positional[0], "the filter of map");
      out.push_back(apply_filter(in, name, item, rest));
    }
  }
  return in.heap().list(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value select_filter(Interpreter& in, const Value& target, const Args& args, bool by_attribute,
                    bool keep) {
  const size_t skip = by_attribute ? 1 : 0;
  const auto attribute = by_attribute ? args.get(0, "") : std::nullopt;
  if (by_attribute && !attribute) in.fail("the attribute to select by is missing");
  const Args rest = without_first(args, skip + 1);
  std::vector<Value> out;
  for (const Value& item : iterate(in.heap(), target)) {
    const Value value = by_attribute ? sort_key(in, item, attribute, true) : item;
    const auto test = args.get(skip, "");
    const bool holds =
        test ? apply_test(in, text_of(in, *test, "a test"), value, rest) : truthy(value);
    if (holds == keep) out.push_back(item);
  }
  return in.heap().list(std::move(out));
}

Value sum_filter(Interpreter& in, const Value& target, const Args& args) {
  const auto attribute = args.get(0, "attribute");
  Value total = args.get(1, "start").value_or(make_int(0));
  for (const Value& item : iterate(in.heap(), target)) {
    total = arithmetic(in, "+", total, attribute ? sort_key(in, item, attribute, true) : item);
  }
  return total;
}

Value reverse_filter(Interpreter& in, const Value& target) {
  if (target.is(Type::kString)) return slice(in, target, none(), none(), make_int(-1));
  std::vector<Value> items = iterate(in.heap(), target);
  std::reverse(items.begin(), items.end());
  return in.heap().list(std::move(items));
}

Value items_filter(Interpreter& in, const Value& target) {
  if (target.is(Type::kUndefined)) return in.heap().list({});
  if (!target.is(Type::kDict)) in.fail("items needs a dict");
  std::vector<Value> items;
  for (const auto& [key, value] : target.dict->entries) {
    items.push_back(in.heap().tuple({key, value}));
  }
  return in.heap().list(std::move(items));
}

Value end_filter(Interpreter& in, const Value& target, bool last) {
  const std::vector<Value> items = iterate(in.heap(), target);
  if (items.empty()) return Value();
  return last ? items.back() : items.front();
}

}  // namespace

std::optional<Value> sequence_filter(Interpreter& in, std::string_view name, const Value& target,
                                     const Args& args) {
  Heap& heap = in.heap();
  if (name == "length" || name == "count") {
    return make_int(static_cast<int64_t>(length(heap, target)));
  }
  if (name == "list") return heap.list(iterate(heap, target));
  if (name == "join") return join_filter(in, target, args);
  if (name == "first") return end_filter(in, target, false);
  if (name == "last") return end_filter(in, target, true);
  if (name == "map") return map_filter(in, target, args);
  if (name == "select") return select_filter(in, target, args, false, true);
  if (name == "reject") return select_filter(in, target, args, false, false);
  if (name == "selectattr") return select_filter(in, target, args, true, true);
  if (name == "rejectattr") return select_filter(in, target, args, true, false);
  if (name == "sort") return sort_filter(in, target, args);
  if (name == "dictsort") return dictsort_filter(in, target, args);
  if (name == "items") return items_filter(in, target);
  if (name == "unique") return unique_filter(in, target, args);
  if (name == "reverse") return reverse_filter(in, target);
  if (name == "sum") return sum_filter(in, target, args);
  if (name == "min") return extreme_filter(in, target, args, false);
  if (name == "max") return extreme_filter(in, target, args, true);
  if (name == "attr") {
    const auto attribute = args.get(0, "name");
    if (!attribute) in.fail("attr needs a name");
    return in.get_item(target, heap.string(text_of(in, *attribute, "the name")));
  }
  return std::nullopt;
}

}  // namespace mlxn::tokenizer::jinja
