// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_codes.h, by dim and terms of a weight. Their shapes are also in
// cuda_launch.cc. `ruled` ones know soft caps, slopes, pages and ring starts.
#include "kernels/attn_prefill_tq/cuda_codes.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_tq_mma {

#define PREFILL_TQ(dim, terms, ...)                                                            \
  typedef Shape<dim, terms, __VA_ARGS__> Shape_##dim##_##terms;                                \
  INSTANTIATE(attn_prefill_tq_mma_##dim##_##terms, attn_prefill_tq_mma, Shape_##dim##_##terms, \
              true)                                                                            \
  INSTANTIATE(attn_prefill_tq_mma_ruled_##dim##_##terms, attn_prefill_tq_mma,                  \
              Shape_##dim##_##terms, false)

// Shares of the output, keys of a tile.
PREFILL_TQ(64, 1, 1, 64)
PREFILL_TQ(64, 2, 1, 64)
PREFILL_TQ(128, 1, 1, 64)
PREFILL_TQ(128, 2, 1, 64)
PREFILL_TQ(256, 1, 1, 32)
PREFILL_TQ(256, 2, 1, 32)
PREFILL_TQ(512, 1, 2, 16)
PREFILL_TQ(512, 2, 2, 16)

}  // namespace kernels_attn_prefill_tq_mma
}  // namespace gpu
}  // namespace mlxn
