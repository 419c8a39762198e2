// SPDX-License-Identifier: Apache-2.0
// The wide matmul kernels of formats of 32 elements a block and of MLX.
#include "kernels/matmul/cuda_wide.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

CUDA_MATMUL_KERNELS_32(CUDA_WIDE)

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
