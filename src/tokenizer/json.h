// SPDX-License-Identifier: Apache-2.0
// Reading tokenizer files: simdjson's DOM with errors that name the field.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mlxn::tokenizer {

using Json = simdjson::dom::element;
using JsonArray = simdjson::dom::array;
using JsonObject = simdjson::dom::object;

// Throws Error(kTokenizer).
[[noreturn]] void fail(std::string_view where, std::string_view parameter, std::string_view found,
                       std::string_view required);

// The start of the value's text, for errors.
std::string shown(Json value);

class JsonDocument {
 public:
  // `where` names the file in errors. Nesting deeper than 64 is refused.
  JsonDocument(std::string_view text, std::string_view where);
  Json root() const { return root_; }

 private:
  simdjson::dom::parser parser_;
  Json root_;
};

// A field of an object; empty if missing or null, or if `object` is no object.
std::optional<Json> find(Json object, std::string_view key);

// Conversions that throw naming `what`.
std::string_view as_string(Json value, std::string_view what);
int64_t as_int(Json value, std::string_view what);
JsonArray as_array(Json value, std::string_view what);
JsonObject as_object(Json value, std::string_view what);

std::optional<std::string_view> find_string(Json object, std::string_view key);
bool find_bool(Json object, std::string_view key, bool otherwise);
// The "type" of a pipeline part; throws naming `what` if it has none.
std::string_view type_of(Json part, std::string_view what);
// The String of {"String": ".."}; a {"Regex": ..} or anything else is refused naming `what`.
std::string_view string_pattern(Json part, std::string_view what);

}  // namespace mlxn::tokenizer
