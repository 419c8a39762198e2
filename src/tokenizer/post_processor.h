// SPDX-License-Identifier: Apache-2.0
// Ids that are put around an encoded text when special tokens are asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer/json.h"

namespace mlxn::tokenizer {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// The "post_processor" of a tokenizer.json. Throws for kinds that are not supported.
PostProcessor make_post_processor(Json spec);

}  // namespace mlxn::tokenizer
