// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of glu.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/glu/params.h"

namespace mlxn::kernels {

inline double activation_reference(ops::Activation activation, double x) {
  if (x == -INFINITY) return 0.0;
  switch (activation) {
    case ops::Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case ops::Activation::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ops::Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case ops::Activation::kSigmoid:
      break;
  }
  return 1.0 / (1.0 + std::exp(-x));
}

inline std::vector<double> glu_reference(const GluParams& p) {
  std::vector<double> out;
  for (int64_t row = 0; row < p.rows; ++row) {
    for (int64_t i = 0; i < p.dim; ++i) {
      const int64_t at = row * p.in_stride + i;
      out.push_back(activation_reference(p.activation, load_one(p.dtype, p.gate, at)) *
                    load_one(p.dtype, p.up, at));
    }
  }
  return out;
}

}  // namespace mlxn::kernels
