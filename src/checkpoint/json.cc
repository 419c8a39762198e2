// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json.h"

#include <fmt/format.h>

#include <cmath>
#include <new>
#include <unordered_set>

#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

namespace dom = simdjson::dom;

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

// The path of the first key that occurs twice in one object; nullopt if there is none. Recursion is
// bounded by the parser's depth limit.
std::optional<std::string> find_duplicate(dom::element value, const std::string& path) {
  if (value.is_array()) {
    for (dom::element item : dom::array(value)) {
      if (auto found = find_duplicate(item, path)) return found;
    }
  } else if (value.is_object()) {
    std::unordered_set<std::string_view> seen;
    for (const auto member : dom::object(value)) {
      if (!seen.insert(member.key).second) return join(path, member.key);
      if (member.value.is_object() || member.value.is_array()) {
        if (auto found = find_duplicate(member.value, join(path, member.key))) return found;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::string shown(dom::element value) {
  switch (value.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::STRING:
      return in_quotes(std::string_view(value));
    default:
      return simdjson::minify(value);
  }
}

Json Json::parse(std::string_view text, std::string where, ErrorKind kind) {
  auto document = std::make_shared<Document>();
  document->where = std::move(where);
  const auto reject = [&](simdjson::error_code error) {
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();
    checkpoint::fail(kind, document->where, "JSON text", simdjson::error_message(error),
                     "valid JSON");
  };
  if (const auto error = document->parser.allocate(std::max<size_t>(text.size(), 1), kMaxDepth)) {
    reject(error);
  }
  const simdjson::padded_string padded(text);
  if (padded.data() == nullptr) throw std::bad_alloc();
  dom::element root;
  if (const auto error = document->parser.parse(padded).get(root)) {
    reject(error);
  }
  if (const auto key = find_duplicate(root, "")) {
    checkpoint::fail(kind, document->where, in_quotes(*key), "the key twice", "unique keys");
  }
  Json json;
  json.document_ = std::move(document);
  json.present_ = true;
  json.value_ = root;
  json.kind_ = kind;
  return json;
}

Json Json::child(dom::element value, std::string path) const {
  Json json = *this;
  json.present_ = true;
  json.value_ = value;
  json.path_ = std::move(path);
  return json;
}

Json Json::absent(std::string path) const {
  Json json = *this;
  json.present_ = false;
  json.path_ = std::move(path);
  return json;
}

Json Json::operator[](std::string_view key) const {
  if (!has_value()) return absent(join(path_, key));
  if (!value_.is_object()) fail("an object");
  for (const auto member : dom::object(value_)) {
    if (member.key == key) return child(member.value, join(path_, key));
  }
  return absent(join(path_, key));
}

void Json::check_count(size_t before) const {
  if (before == kMaxEntries) fail(fmt::format("at most {} entries", kMaxEntries));
}

std::vector<std::pair<std::string_view, Json>> Json::members() const {
  if (!is_object()) fail("an object");
  std::vector<std::pair<std::string_view, Json>> out;
  for (const auto member : dom::object(value_)) {
    check_count(out.size());
    out.emplace_back(member.key, child(member.value, join(path_, member.key)));
  }
  return out;
}

std::vector<Json> Json::items() const {
  if (!is_array()) fail("an array");
  std::vector<Json> out;
  for (dom::element item : dom::array(value_)) {
    check_count(out.size());
    out.push_back(child(item, fmt::format("{}[{}]", path_, out.size())));
  }
  return out;
}

std::optional<int64_t> Json::integer(int64_t min, int64_t max, std::string_view required) const {
  if (!has_value()) return std::nullopt;
  int64_t value = 0;
  if (!value_.is<int64_t>() || value_.get(value) != simdjson::SUCCESS || value < min ||
      value > max) {
    fail(required.empty() ? fmt::format("an integer from {} to {}", min, max)
                          : std::string(required));
  }
  return value;
}

std::optional<double> Json::number() const {
  if (!has_value()) return std::nullopt;
  double value = 0;
  if (!value_.is_number() || value_.get(value) != simdjson::SUCCESS || !std::isfinite(value)) {
    fail("a number");
  }
  return value;
}

std::optional<bool> Json::boolean() const {
  if (!has_value()) return std::nullopt;
  if (!value_.is_bool()) fail("true or false");
  return bool(value_);
}

std::optional<std::string> Json::text() const {
  if (!has_value()) return std::nullopt;
  if (!value_.is_string()) fail("a string");
  return std::string(std::string_view(value_));
}

Json Json::with_kind(ErrorKind kind) const {
  Json json = *this;
  json.kind_ = kind;
  return json;
}

const std::string& Json::where() const {
  static const std::string kNowhere;
  return document_ ? document_->where : kNowhere;
}

std::string Json::shown() const { return present() ? checkpoint::shown(value_) : "nothing"; }

void Json::fail(std::string required) const {
  checkpoint::fail(kind_, where(), path_.empty() ? "JSON text" : path_, shown(),
                   std::move(required));
}

}  // namespace mlxn::checkpoint
