// SPDX-License-Identifier: Apache-2.0
// The model of a tokenizer: one piece of text to ids.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace mlxn::tokenizer {

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of `piece`, which is not empty and shorter than 2^31 bytes.
  virtual void encode(std::string_view piece, std::vector<int32_t>& out) const = 0;
};

}  // namespace mlxn::tokenizer
