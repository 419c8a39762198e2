// SPDX-License-Identifier: Apache-2.0
// For tests: GGUF metadata of a model without weights, of which a test changes one key at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/gguf_image.h"
#include "checkpoint/test_util.h"
#include "mlxn/model_config.h"

namespace mlxn::checkpoint {

class Metadata {
 public:
  explicit Metadata(const std::string& architecture) : arch_(architecture) {
    text("general.architecture", architecture);
    u32("block_count", 4).u32("embedding_length", 64).u32("context_length", 512);
    u32("feed_forward_length", 96).u32("attention.head_count", 4).u32("vocab_size", 100);
    u32("attention.key_length", 16).u32("attention.sliding_window", 4);
    if (architecture == "gemma4") {
      u32("attention.key_length_swa", 8);
      array("attention.sliding_window_pattern", 7, 4, std::string("\1\0\1\0", 4));
    }
  }
  Metadata& u32(const std::string& key, uint32_t value) { return set(key, 4, raw(value)); }
  Metadata& f32(const std::string& key, float value) { return set(key, 6, raw(value)); }
  Metadata& text(const std::string& key, const std::string& value) {
    return set(key, 8, gguf_string(value));
  }
  Metadata& array(const std::string& key, uint32_t type, uint64_t count, const std::string& data) {
    return set(key, 9, raw(type) + raw(count) + data);
  }
  Metadata& u32s(const std::string& key, const std::vector<uint32_t>& values) {
    std::string data;
    for (uint32_t value : values) data += raw(value);
    return array(key, 4, values.size(), data);
  }
  Metadata& erase(const std::string& key) {
    pairs_.erase(full(key));
    return *this;
  }
  Metadata& without_rope_freqs() {
    rope_freqs_ = 0;
    return *this;
  }
  Metadata& rope_freqs(uint64_t count, float value) {
    rope_freqs_ = count;
    rope_value_ = value;
    return *this;
  }
  GgufImage image() const {
    GgufImage image;
    for (const auto& [key, value] : pairs_) image.pair(key, value.first, value.second);
    return image;
  }
  std::string build() const {
    GgufImage with_freqs = image();
    const bool has_freqs = arch_ == "gemma4" && rope_freqs_ > 0;
    if (has_freqs) with_freqs.tensor("rope_freqs.weight", {rope_freqs_}, 0, 0);
    std::string bytes = with_freqs.build();
    for (uint64_t i = 0; has_freqs && i < rope_freqs_; ++i) bytes += raw(rope_value_);
    return bytes;
  }
  ModelConfig load() const {
    const TempDir dir;
    return load_model_config(dir.write("m.gguf", build()));
  }

 private:
  std::string full(const std::string& key) const {
    const bool is_absolute = key.rfind("general.", 0) == 0 || key.rfind("tokenizer.", 0) == 0;
    return is_absolute ? key : arch_ + "." + key;
  }
  Metadata& set(const std::string& key, uint32_t type, const std::string& value) {
    pairs_[full(key)] = {type, value};
    return *this;
  }

  std::string arch_;
  std::map<std::string, std::pair<uint32_t, std::string>> pairs_;
  uint64_t rope_freqs_ = 8;
  float rope_value_ = 1.0f;
};

inline Metadata gemma4() { return Metadata("gemma4"); }
inline Metadata gemma3() { return Metadata("gemma3"); }

}  // namespace mlxn::checkpoint
