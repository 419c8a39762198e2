// SPDX-License-Identifier: Apache-2.0
// attn_mask_classify: a simdgroup looks at the cells of one tile.
//   mask [planes, q_len, k_len]   classes [planes, q_tiles, k_tiles]
#include "kernels/attn_mask_classify/gpu_args.h"
#include "kernels/common/gpu_rows.h"

KERNELS_BEGIN(attn_mask_classify)

// A cell that adds nothing, by the type of the mask.
GPU_FN bool free_cell(float value, float) { return value == 0.0f; }
GPU_FN bool free_cell(float value, half) { return value == 0.0f; }
GPU_FN bool free_cell(float value, bfloat) { return value == 0.0f; }
GPU_FN bool free_cell(float value, uchar) { return value != 0.0f; }

template <typename T>
KERNEL(attn_mask_classify, IN(T, mask), OUT(uchar, classes), PARAMS(GpuAttnMaskClassify, p)) {
  await_inputs();
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.tiles) return;
  const uint k_tile = index % p.k_tiles, row = index / p.k_tiles;
  const uint q_tile = row % p.q_tiles, plane = row / p.q_tiles;
  const ulong first_row = ulong(q_tile) * p.q_tile;
  const ulong last_row = min(first_row + p.q_tile, ulong(p.q_len));
  const ulong begin = ulong(k_tile) * p.k_tile, whole = begin + p.k_tile;
  const ulong end = min(whole, ulong(p.k_len));
  uint free = whole <= p.k_len ? 1 : 0, blocked = free;
  for (ulong i = first_row; i < last_row; i++) {
    const ulong at = (ulong(plane) * p.q_len + i) * p.k_len;
    for (ulong j = begin + LANE; j < end; j += 32) {
      const float cell = float(mask[at + j]);
      if (!(cell <= p.sentinel)) blocked = 0;
      if (!free_cell(cell, T())) free = 0;
    }
  }
  blocked = simd_min(blocked);
  free = simd_min(free);
  if (LANE == 0) classes[index] = uchar(blocked != 0 ? 0 : free != 0 ? 2 : 1);
}

INSTANTIATE(attn_mask_classify_f32, attn_mask_classify, float)
INSTANTIATE(attn_mask_classify_f16, attn_mask_classify, half)
INSTANTIATE(attn_mask_classify_bf16, attn_mask_classify, bfloat)
INSTANTIATE(attn_mask_classify_u8, attn_mask_classify, uchar)

KERNELS_END
