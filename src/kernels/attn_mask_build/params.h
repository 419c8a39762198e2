// SPDX-License-Identifier: Apache-2.0
// What an attn_mask_build kernel gets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct AttnMaskBuildParams {
  void* out;  // [q_len, k_len]
  int64_t q_len;
  int64_t k_len;
  int64_t q_offset;     // position of the first query
  int64_t window_size;  // keys; 0: all
  bool causal;
  DType dtype;
};

std::span<const Entry<AttnMaskBuildParams>> attn_mask_build_entries();

}  // namespace mlxn::kernels
