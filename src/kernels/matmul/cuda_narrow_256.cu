// SPDX-License-Identifier: Apache-2.0
// The narrow matmul kernels of formats of 256 elements a block.
#include "kernels/matmul/cuda_narrow.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_narrow {

CUDA_MATMUL_KERNELS_256(CUDA_NARROW)

}  // namespace kernels_matmul_narrow
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
