// SPDX-License-Identifier: Apache-2.0
// matmul over weights stored as floats, on matrix units. x becomes terms, whose sum it is, and a
// term of a row of x is a column. Weight and x are multiplied as
//   f16        f16: x times a power of two of each row, one term of f16 and bf16, two (22 bits) of
//              f32
//   bf16       beside x in bf16 as they are; else as f16: a block of 64 elements of a row times a
//              power of two of its own, which the f32 sum of the block takes off; x as above
//   f32        like that, two f16 terms (22 bits), of which the lower one meets the higher one of x
// What of an element two terms do not hold is 2^-22 of it and 2^-39 of the largest of its block
// (weight) or row (x). Weights of 2^100 and more may overflow.
// Two terms for what has 24 bits: Ootomo and Yokota, "Recovering single precision accuracy from
// Tensor Cores while surpassing the FP32 theoretical peak performance", 2022.
//   weight [rows, cols], aligned to 16 bytes   x [out rows, cols]
//   scales f32 [out rows]   residual, out [out rows, rows]
//
// The order of f32 additions of one result, the same in all kernels:
//   a block of 64 along K: matrix units, from zero, all products of the first term of the weight,
//       then those of the second one; a lane t has elements 8t .. 8t + 7 of each half (f32 weights:
//       4t .. 4t + 3 of each quarter), which it multiplies four at a time
//   total = total + block, or fma(scale, block, total); totals of kCudaSlices runs of blocks, in
//   order; terms of x, in order
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

enum { kBlock = 64, kLaneBytes = 16 };

// Weights as they are, and weights times powers of two. kPieces: of a row in a block, 16 bytes
// each, that a lane has.
template <class T>
struct AsStored {
  typedef T Element;  // that is multiplied
  enum { kBytes = 2, kPieces = 2, kTerms = 1, kLifted = 0 };
};
template <class T>
struct Lifted {
  typedef half Element;
  enum { kBytes = sizeof(T), kPieces = sizeof(T), kTerms = sizeof(T) / 2, kLifted = 1 };
};

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
// Rows g and g + 8 of panels as a lane holds them.
template <class W, int kPanels>
struct Operand {
  Run terms[W::kTerms][kPanels][2];
  float scales[kPanels][2];  // of lifted rows
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

// The exponent of what brings this largest magnitude to 2^14 and more.
GPU_FN uint lift(uint most) { return min(268 - max(most >> 23, 1u), 253u); }

// Row r of panel i, from the pieces that a lane has of it. NaN stays, an infinity becomes one or
// NaN.
template <class T, int kPanels>
GPU_FN void take_row(const uint4 (&pieces)[2], int i, int r, Operand<AsStored<T>, kPanels>& w) {
  w.terms[0][i][r] = Run{{pieces[0], pieces[1]}};
}
template <class T, int kPanels>
GPU_FN void take_row(const uint4 (&pieces)[sizeof(T)], int i, int r,
                     Operand<Lifted<T>, kPanels>& w) {
  const uint* words = reinterpret_cast<const uint*>(pieces);
  float v[16], most = 0.0f;
  UNROLL for (int k = 0; k < 16; k++) {
    if (sizeof(T) == 4) {
      v[k] = as_float(words[k]);
    } else {  // pairs of bf16
      v[k] = as_float(k % 2 == 0 ? words[k / 2] << 16 : words[k / 2] & 0xffff0000u);
    }
    most = fmaxf(most, fabsf(v[k]));
  }
  // The other lanes of the row are neighbours.
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
  most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
  const uint exponent = lift(as_uint(most));
  w.scales[i][r] = as_float((254 - exponent) << 23);
  UNROLL for (int k = 0; k < 16; k++) v[k] = v[k] * as_float(exponent << 23);
  UNROLL for (int term = 0; term < Lifted<T>::kTerms; term++) {
    uint* const to = reinterpret_cast<uint*>(w.terms[term][i][r].of);
    UNROLL for (int k = 0; k < 16; k += 2) {
      to[k / 2] = pack2(v[k], v[k + 1], half());
      if (term + 1 == Lifted<T>::kTerms) continue;
      v[k] = v[k] - cut(v[k], half());
      v[k + 1] = v[k + 1] - cut(v[k + 1], half());
    }
  }
}

// Where pair i of a row of x lies among those of its block, in the order of a weight's pieces.
template <class W>
GPU_FN uint pair_at(uint i) {
  if (W::kPieces == 2) return i;
  return i / 16 * 16 + i % 8 / 2 * 4 + i % 16 / 8 * 2 + i % 2;
}

// Pairs i, i + step ... of a row of x, all asked for before the first is needed.
template <class X, int N>
GPU_FN void load_pairs(const X* row, uint i, uint step, uint pairs, float2 (&v)[N]) {
  UNROLL for (uint j = 0; j < N; j++) {
    const X* const at = row + 2 * min(i + j * step, pairs - 1);
    v[j] = make_float2(float(at[0]), float(at[1]));
  }
}
template <int N>
GPU_FN void load_pairs(const uchar* x, ulong first, uint type, uint i, uint step, uint pairs,
                       float2 (&v)[N]) {
  if (type == kGpuMatmulF32) {
    load_pairs(reinterpret_cast<const float*>(x) + first, i, step, pairs, v);
  } else if (type == kGpuMatmulF16) {
    load_pairs(reinterpret_cast<const half*>(x) + first, i, step, pairs, v);
  } else {
    load_pairs(reinterpret_cast<const bfloat*>(x) + first, i, step, pairs, v);
  }
}

// The threads of a group make the terms of a row of x: put(k, i, term k of pair i). Returns what
// sums of products are to be multiplied with.
template <class W, class Put>
GPU_FN float make_terms(const uchar* x, uint row, const CudaDense& p, const Put& put) {
  typedef typename W::Element T;
  __shared__ uint most_of[32];
  constexpr uint kAtOnce = 4;
  const ulong first = ulong(row) * p.cols;
  const uint pairs = p.cols / 2, step = blockDim.x;
  uint exponent = 127;
  if (p.scaled != 0) {
    uint most = 0;  // an infinity is more than any number, NaN more than that
    for (uint i = threadIdx.x; i < pairs; i += kAtOnce * step) {
      float2 v[kAtOnce];
      load_pairs(x, first, p.x_type, i, step, pairs, v);
      UNROLL for (uint j = 0; j < kAtOnce; j++) {
        most = max(most, max(as_uint(fabsf(v[j].x)), as_uint(fabsf(v[j].y))));
      }
    }
    most = __reduce_max_sync(~0u, most);
    if (LANE == 0) most_of[SIMD_ID] = most;
    __syncthreads();
    most = __reduce_max_sync(~0u, LANE < NUM_SIMDS ? most_of[LANE] : 0);
    exponent = lift(most);
  }
  const float factor = as_float(exponent << 23);
  for (uint i = threadIdx.x; i < pairs; i += kAtOnce * step) {
    float2 v[kAtOnce];
    load_pairs(x, first, p.x_type, i, step, pairs, v);
    UNROLL for (uint j = 0; j < kAtOnce; j++) {
      if (i + j * step >= pairs) break;
      v[j] = make_float2(v[j].x * factor, v[j].y * factor);
      for (uint k = 0; k + 1 < p.terms; k++) {
        const float a = cut(v[j].x, T()), b = cut(v[j].y, T());
        put(k, pair_at<W>(i + j * step), pack2(a, b, T()));
        v[j] = make_float2(v[j].x - a, v[j].y - b);
      }
      put(p.terms - 1, pair_at<W>(i + j * step), pack2(v[j].x, v[j].y, T()));
    }
  }
  return as_float((254 - exponent) << 23);
}

// total = total + c, or c times the scales of its rows.
template <class W, int kPanels, int kTiles>
GPU_FN void add(const Operand<W, kPanels>& w, const float (&c)[kPanels][kTiles][4],
                float (&total)[kPanels][kTiles][4]) {
  UNROLL for (int i = 0; i < kPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int k = 0; k < 4; k++) {
        total[i][j][k] = W::kLifted ? fmaf(w.scales[i][k / 2], c[i][j][k], total[i][j][k])
                                    : total[i][j][k] + c[i][j][k];
      }
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
