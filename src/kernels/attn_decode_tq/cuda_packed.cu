// SPDX-License-Identifier: Apache-2.0
// The kernels of cuda_levels.h over packed rows. Another one is a line in cuda_launch.cc.
#include "kernels/attn_decode_tq/cuda_levels.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

DECODE_LEVELS(64, 3)
DECODE_LEVELS(64, 5)
DECODE_LEVELS_OF(80)
DECODE_LEVELS_OF(96)
DECODE_LEVELS_OF(192)

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
