// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of attn_merge.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attn_merge/params.h"
#include "kernels/common/float_io.h"

namespace mlxn::kernels {

struct AttnMergeReference {
  std::vector<double> out;
  std::vector<double> weight;  // like out: sum_i w_i |parts_i|, the scale of the error
  std::vector<double> lse;
};

inline AttnMergeReference attn_merge_reference(const AttnMergeParams& p) {
  AttnMergeReference r;
  for (int64_t row = 0; row < p.rows; ++row) {
    double max = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < p.num_parts; ++i) max = std::max(max, double{p.lse[i * p.rows + row]});
    std::vector<double> weights(static_cast<size_t>(p.num_parts), 0.0);
    for (int64_t i = 0; i < p.num_parts && max > -INFINITY; ++i) {
      sum += weights[static_cast<size_t>(i)] = std::exp(p.lse[i * p.rows + row] - max);
    }
    r.lse.push_back(sum > 0.0 ? max + std::log(sum) : -INFINITY);
    for (int64_t c = 0; c < p.dim; ++c) {
      double out = 0.0, weight = 0.0;
      for (int64_t i = 0; i < p.num_parts; ++i) {
        const double w = weights[static_cast<size_t>(i)] / sum;
        if (!(w > 0.0)) continue;
        const double part = load_one(p.dtype, p.parts, (i * p.rows + row) * p.dim + c);
        out += w * part;
        weight += w * std::abs(part);
      }
      r.out.push_back(out);
      r.weight.push_back(weight);
    }
  }
  return r;
}

}  // namespace mlxn::kernels
