// SPDX-License-Identifier: Apache-2.0
// x as the matmul kernels take it.
#include "kernels/matmul/cuda_stage.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_stage {

// Rows of any float type as f32: x [rows, cols] -> out [rows, cols]; a thread per element.
__global__ void matmul_widen(const uchar* __restrict__ x, float* out, const CudaStage p) {
  const ulong i = ulong(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < ulong(p.rows) * p.cols) out[i] = load_element(x, i, p.x_type);
}

// A simdgroup writes the terms and sums of one block of 32 of eight rows; rows past the last repeat
// it.
//   x [rows, cols] -> terms: XTile [blocks][row tiles]
__global__ void matmul_split(const uchar* __restrict__ x, XTile* terms, const CudaStage p) {
  const uint lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const ulong i = ulong(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const uint block = uint(i / p.tiles), tile = uint(i % p.tiles);
  if (block >= p.cols / 32) return;
  const ulong row = min(8 * tile + g, p.rows - 1);
  float v[8];
  UNROLL for (int k = 0; k < 8; k++) {
    const uint part = k / 4;
    const uint from = p.run_order != 0 ? RunOrder::start(t, part) : SplitOrder::start(t, part);
    v[k] = load_element(x, row * p.cols + 32 * block + from + k % 4, p.x_type);
  }
  const Terms own = p.run_order != 0 ? split<RunOrder>(v) : split<SplitOrder>(v);
  XTile& to = terms[i];
  *reinterpret_cast<uint4*>(to.high[lane]) =
      make_uint4(own.high[0], own.high[1], own.high[2], own.high[3]);
  *reinterpret_cast<uint4*>(to.low[lane]) =
      make_uint4(own.low[0], own.low[1], own.low[2], own.low[3]);
  const XSums<1> whole = sum_x<1, 2>(own);
  const XSums<2> halves = sum_x<2, 2>(own);
  if (g == 0) {
    UNROLL for (int c = 0; c < 2; c++) {
      to.sums[0][2 * t + c] = whole.of[0][c];
      to.sums[1][2 * t + c] = halves.of[0][c];
      to.sums[2][2 * t + c] = halves.of[1][c];
      to.sums[3][2 * t + c] = 0.0f;
    }
  }
}

EXPORT(matmul_widen)
EXPORT(matmul_split)

}  // namespace kernels_matmul_stage
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
