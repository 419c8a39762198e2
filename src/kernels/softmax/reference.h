// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of softmax.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/softmax/params.h"

namespace mlxn::kernels {

inline std::vector<double> softmax_reference(const SoftmaxParams& p) {
  std::vector<double> out;
  for (int64_t row = 0; row < p.rows; ++row) {
    double max = -INFINITY, sum = 0.0;
    bool has_nan = false;
    std::vector<double> x;
    for (int64_t i = 0; i < p.cols; ++i) {
      x.push_back(load_one(p.dtype, p.x, row * p.cols + i));
      has_nan = has_nan || std::isnan(x.back());
      max = std::max(max, x.back());
    }
    for (double value : x) sum += std::exp(value - max);
    for (double value : x) {
      const bool all_blocked = max == -INFINITY && !has_nan;
      out.push_back(all_blocked ? 0.0 : has_nan ? NAN : std::exp(value - max) / sum);
    }
  }
  return out;
}

}  // namespace mlxn::kernels
