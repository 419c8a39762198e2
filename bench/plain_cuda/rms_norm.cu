// SPDX-License-Identifier: Apache-2.0
// rms_norm of aligned f16 rows with an f16 weight, written as plain CUDA: the algorithm of
// src/kernels/rms_norm/gpu.h, for scripts/compare_sass.
#include "kernels/rms_norm/gpu_args.h"
#include "plain.h"

namespace {

__device__ __forceinline__ void finish(const __half* weight, __half* out, unsigned at,
                                       float inverse_rms, const GpuRmsNorm& p, float* v) {
  float w[8];
  load8(weight + at, w);
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = v[j] * inverse_rms * (p.weight_offset + w[j]);
  store8(out + at, v);
}

}  // namespace

extern "C" __global__ void plain_rms_norm(const __half* x, const __half* __restrict__ weight,
                                          __half* out, const GpuRmsNorm p) {
  constexpr int kKept = 2;
  __shared__ float partial[32];
  const uint64_t row = uint64_t{blockIdx.x} * p.dim;
  const unsigned first = 8 * threadIdx.x, step = 8 * blockDim.x;
  float kept[kKept][8];
#pragma unroll
  for (int k = 0; k < kKept; ++k) load8(x + row + min(first + k * step, p.dim - 8), kept[k]);
  float sum_sq = 0.0f;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (first + k * step >= p.dim) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) sum_sq = fmaf(kept[k][j], kept[k][j], sum_sq);
  }
  for (unsigned at = first + kKept * step; at < p.dim; at += step) {
    float v[8];
    load8(x + row + at, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum_sq = fmaf(v[j], v[j], sum_sq);
  }
  sum_sq = block_sum(sum_sq, partial);
  const float inverse_rms = 1.0f / sqrtf(sum_sq / static_cast<float>(p.dim) + p.eps);
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const unsigned at = first + k * step;
    if (at < p.dim) finish(weight, out + row, at, inverse_rms, p, kept[k]);
  }
  for (unsigned at = first + kKept * step; at < p.dim; at += step) {
    float v[8];
    load8(x + row + at, v);
    finish(weight, out + row, at, inverse_rms, p, v);
  }
}
