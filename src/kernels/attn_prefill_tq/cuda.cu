// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_codes.h, by dim. Their shapes are also in cuda_launch.cc. `ruled` ones know
// soft caps, slopes, pages and ring starts.
#include "kernels/attn_prefill_tq/cuda_codes.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_tq_mma {

#define PREFILL_TQ(dim, ...)                                                     \
  typedef Shape<dim, __VA_ARGS__> Shape_##dim;                                   \
  INSTANTIATE(attn_prefill_tq_mma_##dim, attn_prefill_tq_mma, Shape_##dim, true) \
  INSTANTIATE(attn_prefill_tq_mma_ruled_##dim, attn_prefill_tq_mma, Shape_##dim, false)

// Shares of the output, keys of a tile, threadgroups of a core.
PREFILL_TQ(64, 1, 64, 2)
PREFILL_TQ(128, 1, 64, 1)
PREFILL_TQ(256, 1, 32, 1)
PREFILL_TQ(512, 2, 16, 1)

}  // namespace kernels_attn_prefill_tq_mma
}  // namespace gpu
}  // namespace mlxn
