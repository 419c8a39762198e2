// SPDX-License-Identifier: Apache-2.0
// The oracle of attn_mask_build: whether query i may see key j.
#pragma once

#include "kernels/attn_mask_build/params.h"

namespace mlxn::kernels {

inline bool attn_mask_build_reference(const AttnMaskBuildParams& p, int64_t i, int64_t j) {
  const int64_t position = p.q_offset + i;
  if (p.causal && j > position) return false;
  return p.window_size == 0 || position - j < p.window_size;
}

}  // namespace mlxn::kernels
