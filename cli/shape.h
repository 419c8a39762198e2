// SPDX-License-Identifier: Apache-2.0
// Parameter counts of a model shape.
#pragma once

#include <cstdint>
#include <string>

#include "mlxn/model_config.h"

namespace mlxn::cli {

struct ParameterCount {
  int64_t total = 0;
  // Read from memory for one token: all but the unchosen experts, the rows of lookup tables that
  // are not looked up, and, if the output head is its own matrix, the embedding.
  int64_t active = 0;
};

ParameterCount count_parameters(const ModelConfig& config);

// "17.8 M", "4.3 B".
std::string human_count(double count);

}  // namespace mlxn::cli
