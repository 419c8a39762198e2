// SPDX-License-Identifier: Apache-2.0
// From token texts to the bytes of the decoded text. All supported decoders work token by token,
// but for white space stripped off the start of the whole, so that streaming equals batch decoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json.h"

namespace mlxn::tokenizer {

class Decoder {
 public:
  void add_replace(std::string_view from, std::string_view to);
  void add_byte_fallback();
  // Takes up to `start` and `stop` times `content` off the ends of each token.
  void add_strip(std::string_view content, uint32_t start, uint32_t stop);

  // The bytes of one token.
  std::string decode(std::string_view token) const;

  // Put between tokens.
  std::string separator;
  // Taken off the start of the whole text, up to `strip_count` times.
  std::string strip_content;
  uint32_t strip_count = 0;

 private:
  enum class Kind { kReplace, kByteFallback, kStrip };
  struct Step {
    Kind kind;
    std::string from;
    std::string to;
    uint32_t start = 0;
    uint32_t stop = 0;
  };
  std::vector<Step> steps_;
};

// The "decoder" of a tokenizer.json. Throws for kinds and orders that are not supported.
Decoder make_decoder(Json spec);

}  // namespace mlxn::tokenizer
