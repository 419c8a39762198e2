// SPDX-License-Identifier: Apache-2.0
// What a moe_combine kernel gets. Pointers address element 0 of the view.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct MoeCombineParams {
  const void* y;             // [tokens, top_k, dim]
  const float* weights;      // [tokens, top_k]
  const void* shared;        // [tokens, dim] or null
  const float* shared_gate;  // [tokens] or null: logits; null counts as a gate of 1
  const void* residual;      // [tokens, dim] or null
  void* out;                 // [tokens, dim]; may be shared or residual
  int64_t tokens;
  int64_t top_k;
  int64_t dim;  // elements
  DType dtype;  // of y, shared, residual, out
};

std::span<const Entry<MoeCombineParams>> moe_combine_entries();

}  // namespace mlxn::kernels
