// SPDX-License-Identifier: Apache-2.0
// attn_mask_build: a thread writes eight cells of a row.   out [q_len, k_len]
#include "kernels/attn_mask_build/gpu_args.h"
#include "kernels/common/gpu_rows.h"

KERNELS_BEGIN(attn_mask_build)

template <typename T>
KERNEL(attn_mask_build, OUT(T, out), PARAMS(GpuAttnMaskBuild, p)) {
  await_inputs();
  const uint piece = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  if (piece >= p.pieces) return;
  const uint row = piece / p.row_pieces, at = piece % p.row_pieces * 8;
  const long position = long(p.q_offset) + long(row);
  const long newest = p.causal != 0 ? position : long(p.k_len);
  const long oldest = p.window_size > 0 ? position - long(p.window_size) + 1 : 0;
  for (uint j = at; j < at + 8 && j < p.k_len; j++) {
    const bool seen = long(j) <= newest && long(j) >= oldest;
    out[ulong(row) * p.k_len + j] = T(seen ? 0.0f : -INFINITY);
  }
}

INSTANTIATE(attn_mask_build_f32, attn_mask_build, float)
INSTANTIATE(attn_mask_build_f16, attn_mask_build, half)
INSTANTIATE(attn_mask_build_bf16, attn_mask_build, bfloat)

KERNELS_END
