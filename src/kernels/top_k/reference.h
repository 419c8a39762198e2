// SPDX-License-Identifier: Apache-2.0
// The oracle of top_k, exact: a stable sort of the whole row.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/top_k/params.h"

namespace mlxn::kernels {

inline std::vector<uint32_t> top_k_reference(const TopKParams& p) {
  std::vector<uint32_t> indices;
  for (int64_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.count;
    std::vector<uint32_t> order(static_cast<size_t>(p.count));
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return std::isnan(x[b]) ? !std::isnan(x[a]) : x[a] > x[b];
    });
    indices.insert(indices.end(), order.begin(), order.begin() + p.k);
  }
  return indices;
}

}  // namespace mlxn::kernels
