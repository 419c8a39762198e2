// SPDX-License-Identifier: Apache-2.0
// Filters of texts and numbers.
#include "tokenizer/jinja_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/decimal.h"
#include "tokenizer/jinja_strings.h"

namespace mlxn::tokenizer::jinja {
namespace {

std::string indent(Interpreter& in, const std::string& text, const Args& args) {
  std::string space(4, ' ');
  if (const auto width = args.get(0, "width")) {
    if (width->is(Type::kString)) {
      space = *width->string;
    } else {
      const int64_t count = int_of(in, *width, "the width");
      if (count > 1024) in.fail("an indentation above 1024");
      space.assign(static_cast<size_t>(std::max<int64_t>(count, 0)), ' ');
    }
  }
  const bool blank = flag(args, 2, "blank");
  const std::string source = text + "\n";
  const Parts lines = split_lines(source);
  if (!lines) in.fail(fmt::format("a text of more than {} lines", kMaxParts));
  in.heap().step(lines->size());
  std::string out;
  if (flag(args, 1, "first")) out = space;
  for (size_t i = 0; i < lines->size(); ++i) {
    const std::string_view line = (*lines)[i];
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !line.empty())) out += space;
    out += line;
    in.heap().check_text(out.size());
  }
  return out;
}

JsonStyle json_style(Interpreter& in, const Args& args) {
  JsonStyle style;
  style.ascii = flag(args, 0, "ensure_ascii");
  style.sort_keys = flag(args, 3, "sort_keys");
  const auto indentation = args.get(1, "indent");
  if (indentation && !indentation->is(Type::kNone)) {
    if (indentation->is(Type::kString)) {
      style.indent = *indentation->string;
    } else {
      const int64_t count = int_of(in, *indentation, "indent");
      style.indent = std::string(static_cast<size_t>(std::clamp<int64_t>(count, 0, 1025)), ' ');
    }
    if (style.indent->size() > 1024) in.fail("an indentation above 1024");
    style.item_separator.assign(1, ',');
  }
  const auto separators = args.get(2, "separators");
  if (separators && !separators->is(Type::kNone)) {
    const std::vector<Value> both = iterate(in.heap(), *separators);
    if (both.size() != 2) in.fail("separators must be a pair");
    style.item_separator = text_of(in, both[0], "a separator");
    style.key_separator = text_of(in, both[1], "a separator");
  }
  return style;
}

// The integer that int() of Python reads, if the text is one.
std::optional<int64_t> parse_int(std::string_view text, int base) {
  text = strip(text, std::nullopt, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::string_view prefix = text.substr(0, 2);
  if ((base == 16 && (prefix == "0x" || prefix == "0X")) ||
      (base == 8 && (prefix == "0o" || prefix == "0O")) ||
      (base == 2 && (prefix == "0b" || prefix == "0B"))) {
    text.remove_prefix(2);
  }
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || text[0] == '-' || result.ec != std::errc() ||
      result.ptr != text.data() + text.size()) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

std::optional<double> parse_float(std::string_view text) {
  text = strip(text, std::nullopt, true, true);
  if (text.starts_with('+')) text.remove_prefix(1);
  return base::parse_decimal(text);
}

std::optional<Value> truncated(double number) {
  if (!(std::abs(number) < 0x1p63)) return std::nullopt;
  return make_int(static_cast<int64_t>(number));
}

Value int_filter(Interpreter& in, const Value& target, const Args& args) {
  const Value otherwise = args.get(0, "default").value_or(make_int(0));
  if (target.is(Type::kFloat)) return truncated(target.number).value_or(otherwise);
  if (target.is_number()) return make_int(target.as_int());
  if (!target.is(Type::kString)) return otherwise;
  const auto given = args.get(1, "base");
  const int64_t base = given ? int_of(in, *given, "the base") : 10;
  if (base < 2 || base > 36) in.fail("the base must be from 2 to 36");
  if (const auto value = parse_int(*target.string, static_cast<int>(base))) return make_int(*value);
  if (const auto value = parse_float(*target.string)) return truncated(*value).value_or(otherwise);
  return otherwise;
}

Value float_filter(const Value& target, const Args& args) {
  const Value otherwise = args.get(0, "default").value_or(make_float(0));
  if (target.is_number()) return make_float(target.as_double());
  if (!target.is(Type::kString)) return otherwise;
  const auto value = parse_float(*target.string);
  return value ? make_float(*value) : otherwise;
}

// Half to even at a decimal, as Python's round; "ceil" and "floor" on request.
Value round_filter(Interpreter& in, const Value& target, const Args& args) {
  if (!target.is_number()) in.fail(fmt::format("round of {}", type_name(target)));
  const auto precision = args.get(0, "precision");
  const int64_t digits = precision ? int_of(in, *precision, "the precision") : 0;
  if (digits < 0 || digits > 15) in.fail("the precision must be from 0 to 15");
  const auto method = args.get(1, "method");
  const std::string how = method ? text_of(in, *method, "the method") : "common";
  const double value = target.as_double();
  if (how == "common" && !target.is(Type::kFloat)) return make_int(target.as_int());
  if (how == "common") {
    // Formatting rounds the exact value.
    const std::string text = fmt::format("{:.{}f}", value, digits);
    return std::isfinite(value) ? make_float(*parse_float(text)) : target;
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (how == "ceil") return make_float(std::ceil(value * scale) / scale);
  if (how == "floor") return make_float(std::floor(value * scale) / scale);
  in.fail("unknown rounding method '" + how + "'");
}

std::string escape_html(const Heap& heap, const std::string& text) {
  std::string out;
  for (const char c : text) {
    heap.check_text(out.size());
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value abs_filter(Interpreter& in, const Value& target) {
  if (target.is(Type::kFloat)) return make_float(std::abs(target.number));
  const int64_t value = int_of(in, target, "the argument of abs");
  return value < 0 ? arithmetic(in, "-", make_int(0), make_int(value)) : make_int(value);
}

Value replace_filter(Interpreter& in, const std::string& text, const Args& args) {
  const auto from = args.get(0, "old");
  const auto to = args.get(1, "new");
  const auto limit = args.get(2, "count");
  if (!from || !to) in.fail("replace takes two texts");
  const std::string old = to_text(in.heap(), *from);
  if (old.empty()) in.fail("replace of an empty text is not supported");
  in.heap().check_part(old.size());
  const int64_t count = limit && !limit->is(Type::kNone) ? int_of(in, *limit, "count") : -1;
  const auto result = replace(text, old, to_text(in.heap(), *to), count, kMaxText);
  if (!result) in.fail("a text is longer than 16 MiB");
  return in.heap().string(*result);
}

std::optional<std::string> text_filter(Interpreter& in, std::string_view name,
                                       const std::string& text, const Args& args) {
  if (name == "string" || name == "safe") return text;
  if (name == "upper") return to_upper(text);
  if (name == "lower") return to_lower(text);
  if (name == "title") return title_filter(text);
  if (name == "capitalize") return capitalize(text);
  if (name == "indent") return indent(in, text, args);
  if (name == "escape" || name == "e") return escape_html(in.heap(), text);
  if (name != "trim") return std::nullopt;
  const auto chars = args.get(0, "chars");
  if (!chars || chars->is(Type::kNone)) return std::string(strip(text, std::nullopt, true, true));
  const std::string set = text_of(in, *chars, "chars");
  in.heap().scan(text.size() * set.size());
  return std::string(strip(text, set, true, true));
}

}  // namespace

bool flag(const Args& args, size_t index, std::string_view name) {
  const auto value = args.get(index, name);
  return value && truthy(*value);
}

std::optional<Value> scalar_filter(Interpreter& in, std::string_view name, const Value& target,
                                   const Args& args) {
  Heap& heap = in.heap();
  if (name == "default" || name == "d") {
    const bool missing =
        target.is(Type::kUndefined) || (flag(args, 1, "boolean") && !truthy(target));
    return missing ? args.get(0, "default_value").value_or(heap.string("")) : target;
  }
  if (name == "tojson") return heap.string(to_json(heap, target, json_style(in, args)));
  if (name == "int" || name == "float") heap.scan(target);
  if (name == "int") return int_filter(in, target, args);
  if (name == "float") return float_filter(target, args);
  if (name == "round") return round_filter(in, target, args);
  if (name == "abs") return abs_filter(in, target);
  constexpr std::string_view kTextFilters[] = {"string", "safe",       "upper",  "lower",
                                               "title",  "capitalize", "indent", "escape",
                                               "e",      "trim",       "replace"};
  for (const std::string_view known : kTextFilters) {
    if (name != known) continue;
    const std::string text = to_text(heap, target);
    if (name == "replace") return replace_filter(in, text, args);
    return heap.string(*text_filter(in, name, text, args));
  }
  return std::nullopt;
}

Value apply_filter(Interpreter& in, std::string_view name, const Value& target, const Args& args) {
  if (const auto result = scalar_filter(in, name, target, args)) return *result;
  if (const auto result = sequence_filter(in, name, target, args)) return *result;
  in.fail(fmt::format("unknown filter '{}'", name));
}

}  // namespace mlxn::tokenizer::jinja
