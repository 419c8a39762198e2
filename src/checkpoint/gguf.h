// SPDX-License-Identifier: Apache-2.0
// A GGUF model: one file, or the parts name-00001-of-0000N.gguf joined. Metadata accessors check
// type and range and name the key in their errors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/gguf_parse.h"
#include "mlxn/error.h"

namespace mlxn::checkpoint {

class GgufFile {
 public:
  // path: the file, or the first part of a split model. Throws kIo and kGguf.
  static std::shared_ptr<const GgufFile> open(const std::string& path);

  const std::string& path() const { return path_; }
  // general.architecture.
  const std::string& architecture() const { return architecture_; }

  struct Part {
    std::shared_ptr<base::MappedFile> file;
    GgufHeader header;
  };
  const std::vector<Part>& parts() const { return parts_; }

  const GgufValue* find(std::string_view key) const { return parts_[0].header.find(key); }

  // The value, or nullopt if the key does not exist. A value of another type or outside the range
  // throws kGguf.
  std::optional<int64_t> integer(std::string_view key, int64_t min, int64_t max) const;
  std::optional<double> number(std::string_view key) const;  // f32, f64 or integer; finite
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;

  // Arrays. The views point into the mapped file.
  std::optional<std::vector<int64_t>> integers(std::string_view key, int64_t min,
                                               int64_t max) const;
  std::optional<std::vector<bool>> booleans(std::string_view key) const;
  std::optional<std::vector<float>> floats(std::string_view key) const;
  std::optional<std::vector<std::string_view>> texts(std::string_view key) const;
  bool is_array(std::string_view key) const;

  // Throws kGguf about a metadata key.
  [[noreturn]] void reject(std::string_view key, std::string found, std::string required) const;

 private:
  const GgufValue* find_array(std::string_view key, std::string_view elements) const;
  void open_other_parts();

  std::string path_;
  std::string architecture_;
  std::vector<Part> parts_;
};

}  // namespace mlxn::checkpoint
