// SPDX-License-Identifier: Apache-2.0
// softmax: one threadgroup per row; maximum, sum of exponentials, division. A thread keeps the
// first kKept * V of its elements in registers and reads the others again, so that `out` may be
// `x`.
//   x, out [rows, cols]
#include "kernels/common/gpu_rows.h"
#include "kernels/softmax/gpu_args.h"

KERNELS_BEGIN(softmax)

template <typename T>
KERNEL(softmax, SHADOW(T, x), OUT(T, out), PARAMS(GpuSoftmax, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  constexpr int kKept = 2;
  SHARED(float, partial_max, 32);
  SHARED(float, partial_sum, 32);
  const ulong row = ulong(GROUP_ID.x) * p.cols;
  const uint step = V * GROUP_SIZE;
  const bool vectors = p.vectors != 0;

  float kept[kKept][V];
  float largest = -INFINITY;
  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = V * THREAD_ID + k * step;
    if (at < p.cols) {
      load_row<V>(x + row + at, p.cols - at, vectors, kept[k]);
      UNROLL for (int j = 0; j < V; j++) {
        if (at + j < p.cols) largest = max(largest, kept[k][j]);
      }
    }
  }
  for (uint at = V * THREAD_ID + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_row<V>(x + row + at, p.cols - at, vectors, v);
    UNROLL for (int j = 0; j < V; j++) {
      if (at + j < p.cols) largest = max(largest, v[j]);
    }
  }
  largest = group_max(largest, partial_max, IN_GROUP);
  // A row of -infinity then sums to 0; one with NaN or +infinity to NaN, whatever max made of it.
  const float shift = largest == -INFINITY ? 0.0f : largest;

  float sum = 0.0f;
  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = V * THREAD_ID + k * step;
    if (at < p.cols) {
      UNROLL for (int j = 0; j < V; j++) {
        kept[k][j] = exp(kept[k][j] - shift);
        if (at + j < p.cols) sum = sum + kept[k][j];
      }
    }
  }
  for (uint at = V * THREAD_ID + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_row<V>(x + row + at, p.cols - at, vectors, v);
    UNROLL for (int j = 0; j < V; j++) {
      if (at + j < p.cols) sum = sum + exp(v[j] - shift);
    }
  }
  sum = group_sum(sum, partial_sum, IN_GROUP);
  const float factor = sum == 0.0f ? 0.0f : 1.0f / sum;

  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = V * THREAD_ID + k * step;
    if (at < p.cols) {
      UNROLL for (int j = 0; j < V; j++) kept[k][j] = kept[k][j] * factor;
      store_row<V>(out + row + at, p.cols - at, vectors, kept[k]);
    }
  }
  for (uint at = V * THREAD_ID + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_row<V>(x + row + at, p.cols - at, vectors, v);
    UNROLL for (int j = 0; j < V; j++) v[j] = exp(v[j] - shift) * factor;
    store_row<V>(out + row + at, p.cols - at, vectors, v);
  }
}

INSTANTIATE(softmax_f32, softmax, float)
INSTANTIATE(softmax_f16, softmax, half)
INSTANTIATE(softmax_bf16, softmax, bfloat)

KERNELS_END
