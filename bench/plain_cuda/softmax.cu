// SPDX-License-Identifier: Apache-2.0
// softmax of aligned f16 rows, written as plain CUDA: the algorithm of src/kernels/softmax/gpu.h,
// for scripts/compare_sass.
#include <cmath>

#include "kernels/softmax/gpu_args.h"
#include "plain.h"

extern "C" __global__ void plain_softmax(const __half* x, __half* out, const GpuSoftmax p) {
  constexpr int kKept = 4;
  __shared__ float partial_max[32], partial_sum[32];
  const uint64_t row = uint64_t{blockIdx.x} * p.cols;
  const unsigned first = 8 * threadIdx.x, step = 8 * blockDim.x;
  float kept[kKept][8];
#pragma unroll
  for (int k = 0; k < kKept; ++k) load8(x + row + min(first + k * step, p.cols - 8), kept[k]);
  float largest = -INFINITY;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (first + k * step < p.cols) largest = fmaxf(largest, kept[k][j]);
    }
  }
  for (unsigned at = first + kKept * step; at < p.cols; at += step) {
    float v[8];
    load8(x + row + at, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) largest = fmaxf(largest, v[j]);
  }
  largest = block_max(largest, partial_max);
  const float shift = largest == -INFINITY ? 0.0f : largest;

  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      kept[k][j] = expf(kept[k][j] - shift);
      if (first + k * step < p.cols) sum += kept[k][j];
    }
  }
  for (unsigned at = first + kKept * step; at < p.cols; at += step) {
    float v[8];
    load8(x + row + at, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += expf(v[j] - shift);
  }
  sum = block_sum(sum, partial_sum);
  const float factor = sum == 0.0f ? 0.0f : 1.0f / sum;

#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const unsigned at = first + k * step;
    if (at >= p.cols) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) kept[k][j] *= factor;
    store8(out + row + at, kept[k]);
  }
  for (unsigned at = first + kKept * step; at < p.cols; at += step) {
    float v[8];
    load8(x + row + at, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = expf(v[j] - shift) * factor;
    store8(out + row + at, v);
  }
}
