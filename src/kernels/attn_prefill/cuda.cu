// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_tile.h, by dim and number of terms. `ruled` ones know soft caps, slopes,
// masks, pages, packed rows, ring starts and tiny scales.
#include "kernels/attn_prefill/cuda_shapes.h"
#include "kernels/attn_prefill/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

typedef half Element_f16;
typedef bfloat Element_bf16;

#define PREFILL_MMA(type, dim, terms, ...)                                                       \
  typedef Shape<dim, terms, __VA_ARGS__> Shape_##type##_##dim##_##terms;                         \
  INSTANTIATE(attn_prefill_mma_##type##_##dim##_##terms, attn_prefill_mma, Element_##type,       \
              Shape_##type##_##dim##_##terms, true)                                              \
  INSTANTIATE(attn_prefill_mma_ruled_##type##_##dim##_##terms, attn_prefill_mma, Element_##type, \
              Shape_##type##_##dim##_##terms, false)

PREFILL_MMA_SHAPES(PREFILL_MMA)

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
