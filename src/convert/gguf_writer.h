// SPDX-License-Identifier: Apache-2.0
// The header of a GGUF file, version 3.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_parse.h"
#include "convert/plan.h"

namespace mlxn::convert {

class GgufMetadata {
 public:
  void u32(std::string_view key, int64_t value);
  void f32(std::string_view key, double value);
  void boolean(std::string_view key, bool value);
  void text(std::string_view key, std::string_view value);
  void i32s(std::string_view key, const std::vector<int64_t>& values);
  void f32s(std::string_view key, const std::vector<float>& values);
  void booleans(std::string_view key, const std::vector<bool>& values);
  void texts(std::string_view key, const std::vector<std::string>& values);
  // As another file has it.
  void copy(const checkpoint::GgufValue& value);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, checkpoint::GgufValueType type);
  void begin_array(std::string_view key, checkpoint::GgufValueType type, size_t count);

  std::string bytes_;
  uint64_t count_ = 0;
};

// Everything in front of the first tensor's bytes. Sets data_at of every tensor; file_bytes is the
// size of the whole file.
std::string gguf_header(const GgufMetadata& metadata, std::vector<PlannedTensor>& tensors,
                        uint64_t& file_bytes);

}  // namespace mlxn::convert
