// SPDX-License-Identifier: Apache-2.0
// The narrow matmul kernels of formats of 32 elements a block and of MLX.
#include "kernels/matmul/cuda_narrow.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_narrow {

CUDA_MATMUL_KERNELS_32(CUDA_NARROW)

}  // namespace kernels_matmul_narrow
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
