// SPDX-License-Identifier: Apache-2.0
// What a top_k kernel gets. Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"

namespace mlxn::kernels {

struct TopKParams {
  const float* x;     // [rows, count]
  uint32_t* indices;  // [rows, k]
  float* values;      // [rows, k]
  int64_t rows;
  int64_t count;  // elements per row
  int64_t k;      // at most count
};

std::span<const Entry<TopKParams>> top_k_entries();

}  // namespace mlxn::kernels
