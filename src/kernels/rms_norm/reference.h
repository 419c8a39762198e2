// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of rms_norm.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/rms_norm/params.h"

namespace mlxn::kernels {

struct RmsNormReference {
  std::vector<double> out;  // [rows, dim]
  std::vector<double> sum;  // [rows, dim]: x + add_before
};

inline RmsNormReference rms_norm_reference(const RmsNormParams& p) {
  RmsNormReference r;
  for (int64_t row = 0; row < p.rows; ++row) {
    double sum_sq = 0.0;
    for (int64_t i = row * p.dim; i < (row + 1) * p.dim; ++i) {
      double v = load_one(p.dtype, p.x, i);
      if (p.add_before != nullptr) v += load_one(p.dtype, p.add_before, i);
      r.sum.push_back(v);
      sum_sq += v * v;
    }
    const double inv = 1.0 / std::sqrt(sum_sq / static_cast<double>(p.dim) + p.eps);
    for (int64_t i = 0; i < p.dim; ++i) {
      const int64_t at = row * p.dim + i;
      const double w =
          p.weight ? p.weight_offset + double{load_one(p.weight_dtype, p.weight, i)} : 1.0;
      double v = r.sum[static_cast<size_t>(at)] * inv * w;
      if (p.factor != nullptr) v *= load_one(p.dtype, p.factor, at);
      if (p.add_after != nullptr) v += load_one(p.dtype, p.add_after, at);
      r.out.push_back(v * p.scale);
    }
  }
  return r;
}

}  // namespace mlxn::kernels
