// SPDX-License-Identifier: Apache-2.0
// rms_norm of f16 rows with an f16 weight, written as plain CUDA: the algorithm of
// src/kernels/rms_norm/gpu.h, for scripts/compare_sass.
#include "kernels/rms_norm/gpu_args.h"
#include "plain.h"

namespace {

__device__ __forceinline__ void load_input(const __half* x, const __half* before, unsigned at,
                                           const GpuRmsNorm& p, float* v) {
  load8(x + at, p.dim - at, p.vectors != 0, v);
  if (p.add_before == 0) return;
  float add[8];
  load8(before + at, p.dim - at, p.vectors != 0, add);
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] += add[j];
}

__device__ __forceinline__ void store_result(const __half* after, const __half* factor,
                                             const __half* weight, __half* sum, __half* out,
                                             unsigned at, float inverse_rms, const GpuRmsNorm& p,
                                             float* v) {
  const unsigned left = p.dim - at;
  const bool vectors = p.vectors != 0;
  if (p.sum != 0) store8(sum + at, left, vectors, v);
  float other[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] *= inverse_rms;
  if (p.weight != 0) {
    load8(weight + at, left, vectors, other);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] *= p.weight_offset + other[j];
  }
  if (p.factor != 0) {
    load8(factor + at, left, vectors, other);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] *= other[j];
  }
  if (p.add_after != 0) {
    load8(after + at, left, vectors, other);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] += other[j];
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] *= p.scale;
  store8(out + at, left, vectors, v);
}

}  // namespace

extern "C" __global__ void plain_rms_norm(const __half* x, const __half* before,
                                          const __half* after, const __half* factor,
                                          const __half* __restrict__ weight, __half* sum,
                                          __half* out, const GpuRmsNorm p) {
  constexpr int kKept = 2;
  __shared__ float partial[32];
  const uint64_t row = uint64_t{blockIdx.x} * p.dim;
  const unsigned step = 8 * blockDim.x;
  float kept[kKept][8];
  float sum_sq = 0.0f;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const unsigned at = 8 * threadIdx.x + k * step;
    if (at >= p.dim) continue;
    load_input(x + row, before + row, at, p, kept[k]);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum_sq = fmaf(kept[k][j], kept[k][j], sum_sq);
  }
  for (unsigned at = 8 * threadIdx.x + kKept * step; at < p.dim; at += step) {
    float v[8];
    load_input(x + row, before + row, at, p, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum_sq = fmaf(v[j], v[j], sum_sq);
  }
  sum_sq = block_sum(sum_sq, partial);
  const float inverse_rms = 1.0f / sqrtf(sum_sq / static_cast<float>(p.dim) + p.eps);
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const unsigned at = 8 * threadIdx.x + k * step;
    if (at >= p.dim) continue;
    store_result(after + row, factor + row, weight, sum + row, out + row, at, inverse_rms, p,
                 kept[k]);
  }
  for (unsigned at = 8 * threadIdx.x + kKept * step; at < p.dim; at += step) {
    float v[8];
    load_input(x + row, before + row, at, p, v);
    store_result(after + row, factor + row, weight, sum + row, out + row, at, inverse_rms, p, v);
  }
}
