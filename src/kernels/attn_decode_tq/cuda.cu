// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_codes.h. A dim further here is one in cuda_launch.cc. The `ruled` ones know
// soft caps and slopes, which cost the others registers and code; the `few` ones are for up to four
// query heads a KV head; the `placed` ones, and the `ruled`, for rings and paged caches.
#include "kernels/attn_decode_tq/cuda_codes.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_mma {

INSTANTIATE(attn_decode_tq_mma_64, attn_decode_tq_mma, 64, 16, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_96, attn_decode_tq_mma, 96, 16, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_128, attn_decode_tq_mma, 128, 16, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_192, attn_decode_tq_mma, 192, 8, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_256, attn_decode_tq_mma, 256, 8, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_512, attn_decode_tq_mma, 512, 8, true, 2, true)
INSTANTIATE(attn_decode_tq_mma_placed_64, attn_decode_tq_mma, 64, 16, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_placed_96, attn_decode_tq_mma, 96, 16, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_placed_128, attn_decode_tq_mma, 128, 16, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_placed_192, attn_decode_tq_mma, 192, 8, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_placed_256, attn_decode_tq_mma, 256, 8, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_placed_512, attn_decode_tq_mma, 512, 8, true, 2, false)
INSTANTIATE(attn_decode_tq_mma_few_64, attn_decode_tq_mma, 64, 16, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_96, attn_decode_tq_mma, 96, 16, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_128, attn_decode_tq_mma, 128, 16, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_192, attn_decode_tq_mma, 192, 8, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_256, attn_decode_tq_mma, 256, 8, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_512, attn_decode_tq_mma, 512, 8, true, 1, true)
INSTANTIATE(attn_decode_tq_mma_few_placed_64, attn_decode_tq_mma, 64, 16, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_few_placed_96, attn_decode_tq_mma, 96, 16, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_few_placed_128, attn_decode_tq_mma, 128, 16, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_few_placed_192, attn_decode_tq_mma, 192, 8, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_few_placed_256, attn_decode_tq_mma, 256, 8, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_few_placed_512, attn_decode_tq_mma, 512, 8, true, 1, false)
INSTANTIATE(attn_decode_tq_mma_ruled_64, attn_decode_tq_mma, 64, 16, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_ruled_96, attn_decode_tq_mma, 96, 16, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_ruled_128, attn_decode_tq_mma, 128, 16, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_ruled_192, attn_decode_tq_mma, 192, 8, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_ruled_256, attn_decode_tq_mma, 256, 8, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_ruled_512, attn_decode_tq_mma, 512, 8, false, 2, false)
INSTANTIATE(attn_decode_tq_mma_merge_64, attn_decode_tq_mma_merge, 64)
INSTANTIATE(attn_decode_tq_mma_merge_80, attn_decode_tq_mma_merge, 80)
INSTANTIATE(attn_decode_tq_mma_merge_96, attn_decode_tq_mma_merge, 96)
INSTANTIATE(attn_decode_tq_mma_merge_128, attn_decode_tq_mma_merge, 128)
INSTANTIATE(attn_decode_tq_mma_merge_192, attn_decode_tq_mma_merge, 192)
INSTANTIATE(attn_decode_tq_mma_merge_256, attn_decode_tq_mma_merge, 256)
INSTANTIATE(attn_decode_tq_mma_merge_512, attn_decode_tq_mma_merge, 512)

}  // namespace kernels_attn_decode_tq_mma
}  // namespace gpu
}  // namespace mlxn
