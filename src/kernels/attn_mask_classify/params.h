// SPDX-License-Identifier: Apache-2.0
// What an attn_mask_classify kernel gets.
#pragma once

#include <cstdint>
#include <span>

#include "base/checked.h"
#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct AttnMaskClassifyParams {
  const void* mask;  // [planes, q_len, k_len]
  uint8_t* classes;  // [planes, q_tiles(), k_tiles()]
  int64_t planes;
  int64_t q_len;
  int64_t k_len;
  int64_t q_tile;  // rows of a tile
  int64_t k_tile;  // keys of a tile
  DType dtype;     // of the mask: f32, f16, bf16, u8

  int64_t q_tiles() const { return base::ceil_div(q_len, q_tile); }
  int64_t k_tiles() const { return base::ceil_div(k_len, k_tile); }
};

std::span<const Entry<AttnMaskClassifyParams>> attn_mask_classify_entries();

}  // namespace mlxn::kernels
