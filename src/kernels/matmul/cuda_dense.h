// SPDX-License-Identifier: Apache-2.0
// matmul over weights stored as f16 or bf16, on matrix units. x becomes terms of the weight's type,
// whose sum it is, and a term of a row of x is a column: bf16 weights take 1, 2 or 3 terms for x in
// bf16, f16 and f32, which is exact. f16 weights take x times a power of two of each row: one term
// of f16 and bf16, two (22 bits) of f32.
//   weight T [rows, cols], aligned to 16 bytes   x [out rows, cols]
//   scales f32 [out rows]   residual, out [out rows, rows]
//
// The order of f32 additions of one result, the same in all kernels:
//   a block of 64 along K: matrix units, from zero; a lane t has elements 8t .. 8t + 7 of each
//   half,
//       which it multiplies four at a time
//   total = total + block; totals of kCudaSlices runs of blocks, in order; terms, in order
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

enum { kBlock = 64, kLaneBytes = 16, kPieces = 4, kPanelBytes = 32 * kPieces * kLaneBytes };

GPU_FN void mma(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, half) {
  mma_f16(c, a0, a1, a2, a3, b0, b1);
}
GPU_FN void mma(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, bfloat) {
  mma_bf16(c, a0, a1, a2, a3, b0, b1);
}

// The elements of a row in a block of 64 that a lane has.
struct Run {
  uint4 of[2];
};
// c[i][j] += rows g and g + 8 of panel i times column g of tile j.
template <class T, int kPanels, int kTiles>
GPU_FN void multiply(const Run (&w)[kPanels][2], const Run (&x)[kTiles],
                     float (&c)[kPanels][kTiles][4]) {
  UNROLL for (int h = 0; h < 2; h++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int i = 0; i < kPanels; i++) {
        const uint4 a = w[i][0].of[h], b = w[i][1].of[h];
        mma(c[i][j], a.x, b.x, a.y, b.y, x[j].of[h].x, x[j].of[h].y, T());
      }
    }
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int i = 0; i < kPanels; i++) {
        const uint4 a = w[i][0].of[h], b = w[i][1].of[h];
        mma(c[i][j], a.z, b.z, a.w, b.w, x[j].of[h].z, x[j].of[h].w, T());
      }
    }
  }
}

GPU_FN float cut(float v, half) { return float(half(v)); }
GPU_FN float cut(float v, bfloat) { return as_float(as_uint(v) & 0xffff0000u); }

// The exponent of what brings a row with this largest magnitude to 2^14 and more.
GPU_FN uint lift(uint most) { return min(268 - max(most >> 23, 1u), 253u); }

// The threads of a group make the terms of a row of x: put(k, i, term k of elements 2i and 2i + 1).
// Returns what sums of products are to be multiplied with.
template <class T, class Put>
GPU_FN float make_terms(const uchar* x, uint row, const CudaDense& p, const Put& put) {
  __shared__ uint most_of[32];
  const ulong first = ulong(row) * p.cols;
  uint exponent = 127;
  if (p.scaled != 0) {
    uint most = 0;
    for (uint i = threadIdx.x; i < p.cols; i += blockDim.x) {
      most = max(most, as_uint(fabsf(load_element(x, first + i, p.x_type))));
    }
    most = __reduce_max_sync(~0u, most);
    if (LANE == 0) most_of[SIMD_ID] = most;
    __syncthreads();
    most = __reduce_max_sync(~0u, LANE < NUM_SIMDS ? most_of[LANE] : 0);
    exponent = lift(most);
  }
  const float factor = as_float(exponent << 23);
  // Elements of several pairs are asked for before the first is needed.
  constexpr uint kAtOnce = 4;
  const uint pairs = p.cols / 2, step = blockDim.x;
  for (uint i = threadIdx.x; i < pairs; i += kAtOnce * step) {
    float v[kAtOnce][2];
    UNROLL for (uint j = 0; j < kAtOnce; j++) {
      const ulong at = first + 2 * min(i + j * step, pairs - 1);
      v[j][0] = load_element(x, at, p.x_type) * factor;
      v[j][1] = load_element(x, at + 1, p.x_type) * factor;
    }
    UNROLL for (uint j = 0; j < kAtOnce; j++) {
      if (i + j * step >= pairs) break;
      for (uint k = 0; k + 1 < p.terms; k++) {
        const float a = cut(v[j][0], T()), b = cut(v[j][1], T());
        put(k, i + j * step, pack2(a, b, T()));
        v[j][0] = v[j][0] - a;
        v[j][1] = v[j][1] - b;
      }
      put(p.terms - 1, i + j * step, pack2(v[j][0], v[j][1], T()));
    }
  }
  return as_float((254 - exponent) << 23);
}

template <int kPanels, int kTiles>
GPU_FN void add(float (&total)[kPanels][kTiles][4], const float (&c)[kPanels][kTiles][4]) {
  UNROLL for (int i = 0; i < kPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int k = 0; k < 4; k++) total[i][j][k] = total[i][j][k] + c[i][j][k];
    }
  }
}

GPU_FN void store(const CudaDense& p, const uchar* residual, uchar* out, uint out_row, uint row,
                  float v) {
  const ulong to = ulong(out_row) * p.rows + row;
  if (p.has_residual != 0) v = v + load_element(residual, to, p.out_type);
  store_element(out, to, p.out_type, v);
}

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
