// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of matmul and expert_matmul, with the sums that tolerances need.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/matmul/params.h"

namespace mlxn::kernels {

struct MatmulReference {
  std::vector<double> out;         // [out_rows, N]
  std::vector<double> magnitude;   // sum_k |x| |w| (affine: |w| counts as |scale code| + |bias|)
  std::vector<double> block_term;  // sum over blocks of 32: max |x| * sum |w|
};

inline MatmulReference matmul_reference(const MatmulParams& p) {
  const int64_t n = p.weight.rows, k = p.weight.cols;
  const size_t total = static_cast<size_t>(p.out_rows * n);
  MatmulReference r{std::vector<double>(total), std::vector<double>(total),
                    std::vector<double>(total)};
  std::vector<float> w(static_cast<size_t>(k)), x(static_cast<size_t>(k));
  for (int64_t row = 0; row < p.out_rows; ++row) {
    load_f32(p.x_dtype, p.x, row / p.rows_per_x * k, k, x.data());
    const int64_t expert = p.ids ? p.ids[row] : 0;
    for (int64_t col = 0; col < n && expert < p.weight.num_experts; ++col) {
      quant::decode_row(p.weight, expert * n + col, w.data());
      const size_t at = static_cast<size_t>(row * n + col);
      for (int64_t begin = 0; begin < k; begin += 32) {
        double max_x = 0.0, sum_w = 0.0;
        for (int64_t i = begin; i < std::min(k, begin + 32); ++i) {
          const double xi = x[static_cast<size_t>(i)], wi = w[static_cast<size_t>(i)];
          r.out[at] += xi * wi;
          r.magnitude[at] += std::abs(xi * wi);
          max_x = std::max(max_x, std::abs(xi));
          sum_w += std::abs(wi);
        }
        r.block_term[at] += max_x * sum_w;
      }
    }
  }
  for (int64_t i = 0; p.residual != nullptr && i < p.out_rows * n; ++i) {
    r.out[static_cast<size_t>(i)] += load_one(p.out_dtype, p.residual, i);
  }
  return r;
}

}  // namespace mlxn::kernels
