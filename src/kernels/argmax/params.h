// SPDX-License-Identifier: Apache-2.0
// What an argmax kernel gets. Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"

namespace mlxn::kernels {

struct ArgmaxParams {
  const float* x;     // [rows, count]
  uint32_t* indices;  // [rows]
  float* values;      // [rows] or null
  int64_t rows;
  int64_t count;  // elements per row
};

std::span<const Entry<ArgmaxParams>> argmax_entries();

}  // namespace mlxn::kernels
