// SPDX-License-Identifier: Apache-2.0
// Cuts normalized text into the pieces that the model works on one by one.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/json.h"

namespace mlxn::tokenizer {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the pieces of `text`, none of them empty.
  virtual void split(std::string_view text, std::vector<std::string_view>& out) const = 0;
};

// The "pre_tokenizer" of a tokenizer.json. Throws for kinds that are not supported.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(Json spec);

}  // namespace mlxn::tokenizer
