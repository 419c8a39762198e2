// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of moe_combine.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/moe_combine/params.h"

namespace mlxn::kernels {

struct MoeCombineReference {
  std::vector<double> out;        // [tokens, dim]
  std::vector<double> magnitude;  // sum of the terms' magnitudes
};

inline MoeCombineReference moe_combine_reference(const MoeCombineParams& p) {
  MoeCombineReference r;
  for (int64_t t = 0; t < p.tokens; ++t) {
    for (int64_t i = 0; i < p.dim; ++i) {
      double sum = 0.0, magnitude = 0.0;
      const auto add = [&](double term) {
        sum += term;
        magnitude += std::abs(term);
      };
      for (int64_t j = t * p.top_k; j < (t + 1) * p.top_k; ++j) {
        add(double{p.weights[j]} * load_one(p.dtype, p.y, j * p.dim + i));
      }
      if (p.shared != nullptr) {
        const double gate = p.shared_gate ? 1.0 / (1.0 + std::exp(-double{p.shared_gate[t]})) : 1.0;
        add(gate * load_one(p.dtype, p.shared, t * p.dim + i));
      }
      if (p.residual != nullptr) add(load_one(p.dtype, p.residual, t * p.dim + i));
      r.out.push_back(sum);
      r.magnitude.push_back(magnitude);
    }
  }
  return r;
}

}  // namespace mlxn::kernels
