// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of axpy.
#pragma once

#include <vector>

#include "kernels/common/float_io.h"
#include "kernels/skeleton/params.h"

namespace mlxn::kernels {

inline std::vector<double> axpy_reference(const AxpyParams& p) {
  std::vector<double> out;
  for (int64_t i = 0; i < p.count; ++i) {
    out.push_back(double{p.a} * load_one(p.dtype, p.x, i) + load_one(p.dtype, p.y, i));
  }
  return out;
}

}  // namespace mlxn::kernels
