// SPDX-License-Identifier: Apache-2.0
// The single matmul kernels of formats of 256 elements a block.
#include "kernels/matmul/cuda_single.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_single {

CUDA_MATMUL_KERNELS_256(CUDA_SINGLE)

}  // namespace kernels_matmul_single
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
