// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of embed, over rows that the scalar decoder of the format gives.
#pragma once

#include <vector>

#include "kernels/embed/params.h"

namespace mlxn::kernels {

inline std::vector<double> embed_reference(const EmbedParams& p) {
  std::vector<double> out;
  std::vector<float> values(static_cast<size_t>(p.table.cols));
  for (int64_t t = 0; t < p.count; ++t) {
    const bool inside = p.ids[t] >= 0 && p.ids[t] < p.table.rows;
    if (inside) quant::decode_row(p.table, p.ids[t], values.data());
    for (const float value : values) out.push_back(inside ? double{p.scale} * value : 0.0);
  }
  return out;
}

}  // namespace mlxn::kernels
