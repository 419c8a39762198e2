// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_levels.h for two widths. Another dim is a line in cuda_launch.cc.
#include "kernels/attn_decode_tq/cuda_levels.h"
#include "kernels/attn_decode_tq/cuda_mixed.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

INSTANTIATE(attn_decode_tq_mixed_even_64, attn_decode_tq_levels, AnyWidths<64, false>)
INSTANTIATE(attn_decode_tq_mixed_64, attn_decode_tq_levels, AnyWidths<64>)
INSTANTIATE(attn_decode_tq_mixed_80, attn_decode_tq_levels, AnyWidths<80>)
INSTANTIATE(attn_decode_tq_mixed_96, attn_decode_tq_levels, AnyWidths<96>)
INSTANTIATE(attn_decode_tq_mixed_128, attn_decode_tq_levels, AnyWidths<128>)
INSTANTIATE(attn_decode_tq_mixed_192, attn_decode_tq_levels, AnyWidths<192>)
INSTANTIATE(attn_decode_tq_mixed_256, attn_decode_tq_levels, AnyWidths<256>)
INSTANTIATE(attn_decode_tq_mixed_512, attn_decode_tq_levels, AnyWidths<512>)

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
