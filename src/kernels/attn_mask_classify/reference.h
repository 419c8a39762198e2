// SPDX-License-Identifier: Apache-2.0
// The oracle of attn_mask_classify: one tile, cell by cell.
#pragma once

#include <algorithm>

#include "kernels/attn_mask_classify/params.h"
#include "kernels/common/float_io.h"

namespace mlxn::kernels {

inline uint8_t attn_mask_class_reference(const AttnMaskClassifyParams& p, int64_t plane, int64_t qt,
                                         int64_t kt) {
  const bool whole = (kt + 1) * p.k_tile <= p.k_len;
  bool blocked = whole, free = whole;
  for (int64_t i = qt * p.q_tile; i < std::min(p.q_len, (qt + 1) * p.q_tile); ++i) {
    for (int64_t j = kt * p.k_tile; j < std::min(p.k_len, (kt + 1) * p.k_tile); ++j) {
      const int64_t at = (plane * p.q_len + i) * p.k_len + j;
      if (p.dtype == DType::kU8) {
        const bool attends = static_cast<const uint8_t*>(p.mask)[at] != 0;
        blocked = blocked && !attends;
        free = free && attends;
      } else {
        const double cell = load_one(p.dtype, p.mask, at);
        blocked = blocked && cell <= (p.dtype == DType::kF16 ? -65504.0 : double{-1e30f});
        free = free && cell == 0.0;
      }
    }
  }
  return blocked ? 0 : free ? 2 : 1;
}

}  // namespace mlxn::kernels
