// SPDX-License-Identifier: Apache-2.0
// x as the matmul kernels take it.
#include "kernels/matmul/cuda_stage.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_stage {

// Rows of any float type as f32: x [rows, cols] -> out [rows, cols]; a thread per element.
__global__ void matmul_widen(const uchar* x, float* out, const CudaStage p) {
  await_inputs();
  const ulong i = ulong(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < ulong(p.rows) * p.cols) out[i] = load_element(x, i, p.x_type);
}

// A simdgroup writes the terms and sums of one block of 32 of eight rows; rows past the last repeat
// it, those that the order leaves out are row 0.
//   x [rows, cols], order [tiles][8] -> terms: XTile<kTerms> [blocks][row tiles]
template <int kTerms>
__global__ void matmul_split(const uchar* x, const uint* order, XTile<kTerms>* terms,
                             const CudaStage p) {
  await_inputs();
  const uint lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const ulong i = ulong(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  const uint block = uint(i / p.tiles), tile = uint(i % p.tiles);
  if (block >= p.cols / 32) return;
  ulong row = min(8 * tile + g, p.rows - 1);
  if (p.sorted != 0) {
    if (order[8 * tile] == kNoRow) return;
    const uint out_row = order[8 * tile + g];
    row = out_row == kNoRow ? 0 : out_row / p.rows_per_x;
  }
  const ulong first = row * p.cols + 32 * block;
  const float* const floats = reinterpret_cast<const float*>(x) + first;
  const bool fours = p.x_type == kGpuMatmulF32 && reinterpret_cast<ulong>(floats) % 16 == 0;
  float v[8];
  UNROLL for (uint part = 0; part < 2; part++) {
    const uint from = p.run_order != 0 ? RunOrder::start(t, part) : SplitOrder::start(t, part);
    if (fours) {
      load_vec<4>(floats + from, v + 4 * part);
    } else {
      UNROLL for (uint k = 0; k < 4; k++) {
        v[4 * part + k] = load_element(x, first + from + k, p.x_type);
      }
    }
  }
  const Terms own = p.run_order != 0 ? split<RunOrder>(v) : split<SplitOrder>(v);
  XTile<kTerms>& to = terms[i];
  UNROLL for (uint k = 0; k < 4; k++) {
    to.terms[0][word_of(lane, k)] = own.high[k];
    if (kTerms == 2) to.terms[1][word_of(lane, k)] = own.low[k];
  }
  const XSums<1> whole = sum_x<1, kTerms>(own);
  const XSums<2> halves = sum_x<2, kTerms>(own);
  if (g == 0) {
    UNROLL for (int c = 0; c < 2; c++) {
      to.sums[0][2 * t + c] = whole.of[0][c];
      to.sums[1][2 * t + c] = halves.of[0][c];
      to.sums[2][2 * t + c] = halves.of[1][c];
      to.sums[3][2 * t + c] = 0.0f;
    }
  }
}

// One group sorts rows by expert; rows of an unknown expert come last, as those of expert E. The
// order within an expert may differ from run to run: it says where results are computed, not what.
//   ids [rows] -> order: u32 [x_tiles][8], out rows or kNoRow   tiles: CudaRowTile [row_tiles]
//   threadgroup memory: u32 [2][experts + 1]
__global__ void matmul_sort(const uint* ids, uint* order, uint4* tiles, const CudaSort p) {
  await_inputs();
  extern __shared__ uint4 shared[];
  uint* const counts = reinterpret_cast<uint*>(shared);
  uint* const cursors = counts + p.experts + 1;
  for (uint e = threadIdx.x; e <= p.experts; e += blockDim.x) counts[e] = 0;
  for (uint i = threadIdx.x; i < 8 * p.x_tiles; i += blockDim.x) order[i] = kNoRow;
  for (uint i = threadIdx.x; i < p.row_tiles; i += blockDim.x) tiles[i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
  for (uint r = threadIdx.x; r < p.rows; r += blockDim.x) {
    atomicAdd(counts + min(ids[r], p.experts), 1u);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    uint x_tile = 0, row_tile = 0;  // in front of this run of 32 experts
    for (uint first = 0; first <= p.experts; first += 32) {
      const uint e = first + threadIdx.x;
      const uint own = e <= p.experts ? (counts[e] + 7) / 8 : 0;
      const uint own_row_tiles = (own + kRowTile - 1) / kRowTile;
      const uint at = x_tile + simd_prefix_exclusive_sum(own);
      const uint row_at = row_tile + simd_prefix_exclusive_sum(own_row_tiles);
      if (e <= p.experts) cursors[e] = 8 * at;
      for (uint i = 0; i < own_row_tiles; i++) {
        const uint begin = i * kRowTile;
        tiles[row_at + i] = make_uint4(e, at + begin, min(own - begin, uint(kRowTile)), 0);
      }
      x_tile += simd_sum(own);
      row_tile += simd_sum(own_row_tiles);
    }
  }
  __syncthreads();
  for (uint r = threadIdx.x; r < p.rows; r += blockDim.x) {
    order[atomicAdd(cursors + min(ids[r], p.experts), 1u)] = r;
  }
}

EXPORT(matmul_sort)
EXPORT(matmul_widen)
INSTANTIATE(matmul_split_1, matmul_split, 1)
INSTANTIATE(matmul_split_2, matmul_split, 2)

}  // namespace kernels_matmul_stage
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
