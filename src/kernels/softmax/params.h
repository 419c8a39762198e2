// SPDX-License-Identifier: Apache-2.0
// What a softmax kernel gets. Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct SoftmaxParams {
  const void* x;  // [rows, cols]
  void* out;      // [rows, cols]; may be x
  int64_t rows;
  int64_t cols;
  DType dtype;  // of both
};

std::span<const Entry<SoftmaxParams>> softmax_entries();

}  // namespace mlxn::kernels
