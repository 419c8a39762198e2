// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_tile.h, by dim and number of terms. Their shapes are also in cuda_launch.cc.
// `ruled` ones know soft caps, slopes, masks, pages, packed rows and ring starts.
#include "kernels/attn_prefill/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

#define PREFILL_MMA(type, T, dim, terms, ...)                                       \
  typedef Shape<dim, terms, __VA_ARGS__> Shape_##type##_##dim##_##terms;            \
  INSTANTIATE(attn_prefill_mma_##type##_##dim##_##terms, attn_prefill_mma, T,       \
              Shape_##type##_##dim##_##terms, true)                                 \
  INSTANTIATE(attn_prefill_mma_ruled_##type##_##dim##_##terms, attn_prefill_mma, T, \
              Shape_##type##_##dim##_##terms, false)

// Terms, simdgroups, 16s of their rows, their shares, keys of a tile, threadgroups of a core (`one`
// of one term, `more` of several).
#define PREFILL_MMA_NARROW(dim, one, more)            \
  PREFILL_MMA(f16, half, dim, 1, 4, 2, 1, 64, one)    \
  PREFILL_MMA(f16, half, dim, 2, 8, 1, 1, 64, more)   \
  PREFILL_MMA(bf16, bfloat, dim, 1, 4, 2, 1, 64, one) \
  PREFILL_MMA(bf16, bfloat, dim, 3, 4, 1, 1, 64, more)

PREFILL_MMA_NARROW(64, 3, 2)
PREFILL_MMA_NARROW(80, 2, 2)
PREFILL_MMA_NARROW(96, 2, 2)
PREFILL_MMA_NARROW(128, 2, 1)
PREFILL_MMA(f16, half, 256, 1, 4, 2, 2, 64, 2)
PREFILL_MMA(f16, half, 256, 2, 8, 1, 1, 32, 1)
PREFILL_MMA(bf16, bfloat, 256, 1, 4, 2, 2, 64, 2)
PREFILL_MMA(bf16, bfloat, 256, 3, 4, 1, 1, 32, 1)
PREFILL_MMA(f16, half, 512, 1, 8, 1, 2, 64, 1)
PREFILL_MMA(f16, half, 512, 2, 8, 1, 2, 32, 1)
PREFILL_MMA(bf16, bfloat, 512, 1, 8, 1, 2, 64, 1)

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
