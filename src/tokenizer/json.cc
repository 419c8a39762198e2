// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/json.h"

#include <new>

#include "mlxn/error.h"

namespace mlxn::tokenizer {
namespace {

// A tokenizer file nests six deep; the limit keeps recursive readers shallow.
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxShown = 60;

}  // namespace

std::string shown(Json value) {
  std::string text = simdjson::minify(value);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

void fail(std::string_view where, std::string_view parameter, std::string_view found,
          std::string_view required) {
  throw Error(ErrorKind::kTokenizer, ErrorDetail{std::string(where), std::string(parameter),
                                                 std::string(found), std::string(required)});
}

JsonDocument::JsonDocument(std::string_view text, std::string_view where) {
  simdjson::error_code error = parser_.allocate(text.size(), kMaxDepth);
  if (error == simdjson::SUCCESS) {
    const simdjson::padded_string padded(text);
    if (padded.data() == nullptr) throw std::bad_alloc();
    error = parser_.parse(padded).get(root_);
  }
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  if (error != simdjson::SUCCESS) fail(where, "JSON", simdjson::error_message(error), "valid JSON");
}

std::optional<Json> find(Json object, std::string_view key) {
  Json value;
  if (!object.is_object() || object[key].get(value) != simdjson::SUCCESS || value.is_null()) {
    return std::nullopt;
  }
  return value;
}

std::string_view as_string(Json value, std::string_view what) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) fail("tokenizer", what, shown(value), "a string");
  return text;
}

int64_t as_int(Json value, std::string_view what) {
  int64_t number;
  if (value.get(number) != simdjson::SUCCESS) fail("tokenizer", what, shown(value), "an integer");
  return number;
}

JsonArray as_array(Json value, std::string_view what) {
  JsonArray array;
  if (value.get(array) != simdjson::SUCCESS) fail("tokenizer", what, shown(value), "an array");
  return array;
}

JsonObject as_object(Json value, std::string_view what) {
  JsonObject object;
  if (value.get(object) != simdjson::SUCCESS) fail("tokenizer", what, shown(value), "an object");
  return object;
}

std::optional<std::string_view> find_string(Json object, std::string_view key) {
  const auto value = find(object, key);
  if (!value) return std::nullopt;
  return as_string(*value, key);
}

bool find_bool(Json object, std::string_view key, bool otherwise) {
  const auto value = find(object, key);
  if (!value) return otherwise;
  bool result;
  if (value->get(result) != simdjson::SUCCESS) fail("tokenizer", key, shown(*value), "a boolean");
  return result;
}

std::string_view type_of(Json part, std::string_view what) {
  const auto type = find(part, "type");
  if (!type) fail("tokenizer", what, shown(part), "an object with a type");
  return as_string(*type, what);
}

std::string_view string_pattern(Json part, std::string_view what) {
  const auto pattern = find(part, "pattern");
  if (!pattern) fail("tokenizer", what, "no pattern", "a pattern");
  const auto text = find(*pattern, "String");
  if (!text) fail("tokenizer", what, "pattern " + shown(*pattern), "a string pattern (no regex)");
  const std::string_view result = as_string(*text, what);
  if (result.empty()) fail("tokenizer", what, "an empty pattern", "a string of at least one byte");
  return result;
}

}  // namespace mlxn::tokenizer
