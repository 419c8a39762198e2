// SPDX-License-Identifier: Apache-2.0
// The single matmul kernels of formats of 32 elements a block and of MLX.
#include "kernels/matmul/cuda_single.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_single {

CUDA_MATMUL_KERNELS_32(CUDA_SINGLE)

}  // namespace kernels_matmul_single
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
