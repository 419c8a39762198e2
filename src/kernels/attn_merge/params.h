// SPDX-License-Identifier: Apache-2.0
// What an attn_merge kernel gets. Pointers address element 0 of dense views.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct AttnMergeParams {
  const void* parts;  // [num_parts, rows, dim]
  const float* lse;   // [num_parts, rows]
  void* out;          // [rows, dim]
  float* out_lse;     // [rows] or null
  int64_t num_parts;
  int64_t rows;
  int64_t dim;
  DType dtype;  // of parts and out
};

std::span<const Entry<AttnMergeParams>> attn_merge_entries();

}  // namespace mlxn::kernels
