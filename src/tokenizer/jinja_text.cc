// SPDX-License-Identifier: Apache-2.0
// Values as text: str, repr and JSON, and back from JSON.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "mlxn/error.h"
#include "tokenizer/jinja_value.h"
#include "tokenizer/json.h"
#include "tokenizer/utf8.h"

namespace mlxn::tokenizer::jinja {
namespace {

constexpr int kMaxValueDepth = 100;

// Appends under the limits of the heap.
class Writer {
 public:
  explicit Writer(Heap& heap) : heap_(heap) {}

  void put(std::string_view text) {
    heap_.step();
    heap_.scan(text.size());
    heap_.check_text(out_.size() + text.size());
    out_ += text;
  }
  void enter() {
    if (++depth_ > kMaxValueDepth) fail(heap_.line, "a value nests too deeply");
  }
  void leave() { --depth_; }
  int depth() const { return depth_; }
  Heap& heap() { return heap_; }
  std::string take() { return std::move(out_); }

 private:
  Heap& heap_;
  std::string out_;
  int depth_ = 0;
};

std::string quoted(const Heap& heap, const std::string& text) {
  const char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    heap.check_text(out.size());
    const auto byte = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + quote;
}

void write_repr(Writer& out, const Value& value);

void write_items(Writer& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.put(", ");
    write_repr(out, items[i]);
  }
}

void write_repr(Writer& out, const Value& value) {
  out.enter();
  switch (value.type) {
    case Type::kString:
      out.put(quoted(out.heap(), *value.string));
      break;
    case Type::kList:
      out.put("[");
      write_items(out, value.list->items);
      out.put("]");
      break;
    case Type::kTuple:
      out.put("(");
      write_items(out, value.list->items);
      out.put(value.list->items.size() == 1 ? ",)" : ")");
      break;
    case Type::kDict: {
      out.put("{");
      const char* separator = "";
      for (const auto& [key, item] : value.dict->entries) {
        out.put(separator);
        separator = ", ";
        write_repr(out, key);
        out.put(": ");
        write_repr(out, item);
      }
      out.put("}");
      break;
    }
    case Type::kUndefined:
      out.put("Undefined");
      break;
    case Type::kNone:
      out.put("None");
      break;
    case Type::kBool:
      out.put(value.boolean ? "True" : "False");
      break;
    case Type::kInt:
      out.put(std::to_string(value.integer));
      break;
    case Type::kFloat:
      out.put(float_text(value.number));
      break;
    default:
      out.put(fmt::format("<{}>", type_name(value)));
  }
  out.leave();
}

std::string json_string(const Heap& heap, const std::string& text, bool ascii) {
  std::string out = "\"";
  const auto put_unit = [&](uint32_t unit) { out += fmt::format("\\u{:04x}", unit); };
  for (size_t pos = 0; pos < text.size();) {
    heap.check_text(out.size());
    const Utf8Step step = utf8_step(text, pos);
    constexpr std::string_view kFrom = "\"\\\n\r\t\f\b";
    constexpr std::string_view kTo = "\"\\nrtfb";
    const size_t known = step.length == 1 ? kFrom.find(text[pos]) : std::string_view::npos;
    if (known != std::string_view::npos) {
      out += '\\';
      out += kTo[known];
    } else if (step.code < 0x20 || (ascii && step.code > 0x7e && step.code < 0x10000)) {
      put_unit(step.code);
    } else if (ascii && step.code >= 0x10000) {
      put_unit(0xd800 + ((step.code - 0x10000) >> 10));
      put_unit(0xdc00 + ((step.code - 0x10000) & 0x3ff));
    } else {
      out.append(text, pos, step.length);
    }
    pos += step.length;
  }
  return out + "\"";
}

std::string json_float(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
  return float_text(number);
}

void write_json(Writer& out, const Value& value, const JsonStyle& style);

// Separator, line break and indentation before an item of the container being written.
void begin_item(Writer& out, const JsonStyle& style, bool first) {
  if (!first) out.put(style.item_separator);
  if (!style.indent) return;
  std::string space = "\n";
  for (int i = 0; i < out.depth(); ++i) space += *style.indent;
  out.put(space);
}

void end_items(Writer& out, const JsonStyle& style) {
  if (!style.indent) return;
  std::string space = "\n";
  for (int i = 1; i < out.depth(); ++i) space += *style.indent;
  out.put(space);
}

std::string json_key(Writer& out, const Value& key) {
  switch (key.type) {
    case Type::kString:
      return *key.string;
    case Type::kNone:
      return "null";
    case Type::kBool:
      return key.boolean ? "true" : "false";
    case Type::kFloat:
      return json_float(key.number);
    default:
      return to_text(out.heap(), key);
  }
}

void write_json_dict(Writer& out, const Dict& dict, const JsonStyle& style) {
  std::vector<const std::pair<Value, Value>*> entries;
  for (const auto& entry : dict.entries) entries.push_back(&entry);
  if (style.sort_keys) {
    std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
      return compare(out.heap(), a->first, b->first) < 0;
    });
  }
  out.put("{");
  for (const auto* entry : entries) {
    begin_item(out, style, entry == entries.front());
    out.put(json_string(out.heap(), json_key(out, entry->first), style.ascii));
    out.put(style.key_separator);
    write_json(out, entry->second, style);
  }
  if (!entries.empty()) end_items(out, style);
  out.put("}");
}

void write_json(Writer& out, const Value& value, const JsonStyle& style) {
  out.enter();
  switch (value.type) {
    case Type::kNone:
      out.put("null");
      break;
    case Type::kBool:
      out.put(value.boolean ? "true" : "false");
      break;
    case Type::kInt:
      out.put(std::to_string(value.integer));
      break;
    case Type::kFloat:
      out.put(json_float(value.number));
      break;
    case Type::kString:
      out.put(json_string(out.heap(), *value.string, style.ascii));
      break;
    case Type::kList:
    case Type::kTuple:
      out.put("[");
      for (const Value& item : value.list->items) {
        begin_item(out, style, &item == value.list->items.data());
        write_json(out, item, style);
      }
      if (!value.list->items.empty()) end_items(out, style);
      out.put("]");
      break;
    case Type::kDict:
      write_json_dict(out, *value.dict, style);
      break;
    default:
      fail(out.heap().line, fmt::format("{} has no JSON form", type_name(value)));
  }
  out.leave();
}

Value convert(Heap& heap, Json json) {
  switch (json.type()) {
    case simdjson::dom::element_type::ARRAY: {
      std::vector<Value> items;
      for (const Json item : JsonArray(json)) items.push_back(convert(heap, item));
      return heap.list(std::move(items));
    }
    case simdjson::dom::element_type::OBJECT: {
      Value dict = heap.dict();
      for (const auto [key, item] : JsonObject(json)) {
        heap.set(*dict.dict, heap.string(std::string(key)), convert(heap, item));
      }
      return dict;
    }
    case simdjson::dom::element_type::INT64:
      return make_int(int64_t(json));
    case simdjson::dom::element_type::UINT64:
      fail(heap.line, "an integer of the input exceeds 2^63 - 1");
    case simdjson::dom::element_type::DOUBLE:
      return make_float(double(json));
    case simdjson::dom::element_type::STRING:
      return heap.string(std::string(std::string_view(json)));
    case simdjson::dom::element_type::BOOL:
      return make_bool(bool(json));
    case simdjson::dom::element_type::NULL_VALUE:
      return none();
  }
  return none();
}

}  // namespace

// The shortest text that reads back as the same value; exponents below 1e-4 and from 1e16 on.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const double size = std::abs(value);
  const bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto result =
      std::to_chars(buffer, buffer + sizeof(buffer), value,
                    scientific ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(buffer, result.ptr);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string repr(Heap& heap, const Value& value) {
  Writer out(heap);
  write_repr(out, value);
  return out.take();
}

std::string to_text(Heap& heap, const Value& value) {
  heap.scan(value);
  if (value.is(Type::kString)) return *value.string;
  if (value.is(Type::kUndefined)) return "";
  return repr(heap, value);
}

std::string to_json(Heap& heap, const Value& value, const JsonStyle& style) {
  Writer out(heap);
  write_json(out, value, style);
  return out.take();
}

Value from_json(Heap& heap, std::string_view text, std::string_view name) {
  const JsonDocument document(text, name);
  return convert(heap, document.root());
}

}  // namespace mlxn::tokenizer::jinja
