// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of the elementwise ops.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/elementwise/params.h"

namespace mlxn::kernels {

inline std::vector<double> elementwise_reference(const ElementwiseParams& p) {
  std::vector<double> out;
  for (int64_t i = 0; i < p.count; ++i) {
    const double a = load_one(p.dtype, p.a, i);
    const double b = p.b ? load_one(p.dtype, p.b, i) : 0.0;
    switch (p.kind) {
      case ElementwiseKind::kAdd:
        out.push_back(a + b);
        break;
      case ElementwiseKind::kMul:
        out.push_back(a * b);
        break;
      case ElementwiseKind::kScale:
        out.push_back(a * p.scalar);
        break;
      case ElementwiseKind::kSoftcap:
        out.push_back(p.scalar * std::tanh(a / p.scalar));
        break;
      case ElementwiseKind::kCast:
        out.push_back(a);
        break;
    }
  }
  return out;
}

}  // namespace mlxn::kernels
