// SPDX-License-Identifier: Apache-2.0
// The wide matmul kernels of formats of 256 elements a block.
#include "kernels/matmul/cuda_wide.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

CUDA_MATMUL_KERNELS_256(CUDA_WIDE)

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
