// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_floats.h. A dim further here is one in cuda_launch.cc. `ruled` ones know soft
// caps and slopes, which cost the others registers and code; `few` ones are for up to four query
// heads a KV head.
#include "kernels/attn_decode/cuda_floats.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_mma {

#define DECODE_MMA(dim)                                                                \
  INSTANTIATE(attn_decode_mma_##dim##_f16, attn_decode_mma, half, dim, true, 2)        \
  INSTANTIATE(attn_decode_mma_##dim##_bf16, attn_decode_mma, bfloat, dim, true, 2)     \
  INSTANTIATE(attn_decode_mma_few_##dim##_f16, attn_decode_mma, half, dim, true, 1)    \
  INSTANTIATE(attn_decode_mma_merge_##dim, attn_decode_mma_merge, dim)                 \
  INSTANTIATE(attn_decode_mma_ruled_##dim##_f16, attn_decode_mma, half, dim, false, 2) \
  INSTANTIATE(attn_decode_mma_ruled_##dim##_bf16, attn_decode_mma, bfloat, dim, false, 2)

DECODE_MMA(64)
DECODE_MMA(80)
DECODE_MMA(96)
DECODE_MMA(128)
DECODE_MMA(192)
DECODE_MMA(256)
DECODE_MMA(512)

}  // namespace kernels_attn_decode_mma
}  // namespace gpu
}  // namespace mlxn
