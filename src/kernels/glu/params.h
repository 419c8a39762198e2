// SPDX-License-Identifier: Apache-2.0
// What a glu kernel gets. Pointers address element 0 of the view.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"
#include "mlxn/ops/elementwise.h"

namespace mlxn::kernels {

struct GluParams {
  const void* gate;  // [rows, dim] with stride in_stride
  const void* up;    // [rows, dim] with stride in_stride
  void* out;         // [rows, dim], dense; may be gate or up if in_stride is dim
  int64_t rows;
  int64_t dim;        // elements per row
  int64_t in_stride;  // elements from row to row of gate and up: dim, or 2 dim if they are packed
  DType dtype;        // of all three
  ops::Activation activation;
};

std::span<const Entry<GluParams>> glu_entries();

}  // namespace mlxn::kernels
