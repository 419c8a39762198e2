// SPDX-License-Identifier: Apache-2.0
// What an axpy kernel gets. Pointers address element 0 of the view.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct AxpyParams {
  const void* x;  // [count]
  const void* y;  // [count]
  void* out;      // [count]; may be x or y
  int64_t count;  // elements
  float a;
  DType dtype;  // of x, y, out
};

std::span<const Entry<AxpyParams>> axpy_entries();

}  // namespace mlxn::kernels
