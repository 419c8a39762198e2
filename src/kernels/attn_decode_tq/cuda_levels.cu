// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_levels.h, by dim and bits of a code. Another one is a line in cuda_launch.cc.
#include "kernels/attn_decode_tq/cuda_levels.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

DECODE_LEVELS(64, 2)  // 3 and 5 bits: cuda_packed.cu
DECODE_LEVELS(64, 4)
DECODE_LEVELS(64, 6)
DECODE_LEVELS(64, 8)
DECODE_LEVELS_OF(128)
DECODE_LEVELS_OF(256)
DECODE_LEVELS_OF(512)

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
