// SPDX-License-Identifier: Apache-2.0
// For tests: builds GGUF files byte by byte, good ones and bad ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/test_util.h"

namespace mlxn::checkpoint {

inline std::string gguf_string(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

class GgufImage {
 public:
  GgufImage& magic(std::string_view text) {
    magic_ = text;
    return *this;
  }
  GgufImage& version(uint32_t value) {
    version_ = value;
    return *this;
  }
  // Counts other than the real ones.
  GgufImage& claim(uint64_t tensors, uint64_t keys) {
    claimed_ = true;
    claimed_tensors_ = tensors;
    claimed_keys_ = keys;
    return *this;
  }
  GgufImage& pair(std::string_view key, uint32_t type, const std::string& value) {
    keys_ += gguf_string(key) + raw(type) + value;
    ++key_count_;
    return *this;
  }
  GgufImage& text(std::string_view key, std::string_view value) {
    return pair(key, 8, gguf_string(value));
  }
  GgufImage& u32(std::string_view key, uint32_t value) { return pair(key, 4, raw(value)); }
  GgufImage& f32(std::string_view key, float value) { return pair(key, 6, raw(value)); }
  GgufImage& array(std::string_view key, uint32_t type, uint64_t count, const std::string& data) {
    return pair(key, 9, raw(type) + raw(count) + data);
  }
  // Extents as in the file, innermost first.
  GgufImage& tensor(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type,
                    uint64_t offset) {
    tensors_ += gguf_string(name) + raw<uint32_t>(static_cast<uint32_t>(extents.size()));
    for (uint64_t extent : extents) tensors_ += raw(extent);
    tensors_ += raw(type) + raw(offset);
    ++tensor_count_;
    return *this;
  }
  // The file: header, padding to `alignment`, data_bytes of data.
  std::string build(size_t data_bytes = 0, size_t alignment = 32) const {
    std::string out = magic_ + raw(version_) + raw(claimed_ ? claimed_tensors_ : tensor_count_) +
                      raw(claimed_ ? claimed_keys_ : key_count_) + keys_ + tensors_;
    if (tensor_count_ > 0) {
      while (out.size() % alignment != 0) out += '\0';
    }
    return out + std::string(data_bytes, '\0');
  }

 private:
  std::string magic_ = "GGUF";
  uint32_t version_ = 3;
  bool claimed_ = false;
  uint64_t claimed_tensors_ = 0, claimed_keys_ = 0;
  uint64_t tensor_count_ = 0, key_count_ = 0;
  std::string keys_, tensors_;
};

}  // namespace mlxn::checkpoint
