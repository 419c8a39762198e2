// SPDX-License-Identifier: Apache-2.0
// The oracle of argmax, exact.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/argmax/params.h"

namespace mlxn::kernels {

inline std::vector<uint32_t> argmax_reference(const ArgmaxParams& p) {
  std::vector<uint32_t> indices;
  for (int64_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.count;
    int64_t best = -1;
    for (int64_t i = 0; i < p.count; ++i) {
      if (!std::isnan(x[i]) && (best < 0 || x[i] > x[best])) best = i;
    }
    indices.push_back(static_cast<uint32_t>(best < 0 ? 0 : best));
  }
  return indices;
}

}  // namespace mlxn::kernels
