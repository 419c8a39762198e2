// SPDX-License-Identifier: Apache-2.0
// A JSON value that knows where it came from, so that every complaint names file and key. Parsing
// is strict: UTF-8, no duplicate keys, limited nesting.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mlxn/error.h"

namespace mlxn::checkpoint {

// A value for an error message: scalars as they are, escaped and cut; otherwise the type.
std::string shown(simdjson::dom::element value);

class Json {
 public:
  // Deepest nesting accepted; configs need about 5.
  static constexpr size_t kMaxDepth = 32;
  // Most entries of an object or array that is walked through: each becomes a Json of some 100
  // bytes.
  static constexpr size_t kMaxEntries = 100'000;

  // kind: the error kind of every complaint about this document.
  static Json parse(std::string_view text, std::string where, ErrorKind kind = ErrorKind::kConfig);

  Json() = default;  // absent, from nowhere

  // Absent: the key that led here does not exist.
  bool present() const { return present_; }
  bool is_null() const { return present() && value_.is_null(); }
  // Neither absent nor null.
  bool has_value() const { return present() && !value_.is_null(); }
  bool is_object() const { return present() && value_.is_object(); }
  bool is_array() const { return present() && value_.is_array(); }
  bool is_string() const { return present() && value_.is_string(); }
  bool is_bool() const { return present() && value_.is_bool(); }
  bool is_number() const { return present() && value_.is_number(); }

  // Member of an object; absent if this is absent, null or has no such key. Fails if this is
  // anything else.
  Json operator[](std::string_view key) const;
  // Fail if there are more than kMaxEntries.
  std::vector<std::pair<std::string_view, Json>> members() const;
  std::vector<Json> items() const;

  // The value, nullopt if absent or null. Fails on another type or outside the range.
  // `required` replaces the range in the complaint.
  std::optional<int64_t> integer(int64_t min, int64_t max, std::string_view required = {}) const;
  std::optional<double> number() const;  // integers too; always finite
  std::optional<bool> boolean() const;
  std::optional<std::string> text() const;

  // The same value whose complaints are of another kind.
  Json with_kind(ErrorKind kind) const;
  [[noreturn]] void fail(std::string required) const;
  // "text_config.rope_parameters"; empty for the root.
  const std::string& path() const { return path_; }
  const std::string& where() const;
  ErrorKind kind() const { return kind_; }
  std::string shown() const;  // the value for an error message

 private:
  struct Document {
    simdjson::dom::parser parser;
    std::string where;
  };

  Json child(simdjson::dom::element value, std::string path) const;
  Json absent(std::string path) const;
  void check_count(size_t before) const;  // of one more entry

  std::shared_ptr<const Document> document_;
  simdjson::dom::element value_;
  bool present_ = false;
  std::string path_;
  ErrorKind kind_ = ErrorKind::kConfig;
};

}  // namespace mlxn::checkpoint
