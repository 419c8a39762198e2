// SPDX-License-Identifier: Apache-2.0
// softmax: one threadgroup per row; maximum, sum of exponentials, division. A thread keeps the
// first kKept * V of its elements in registers and reads the others again, so that `out` may be
// `x`.
//   x, out [rows, cols]
#include "kernels/common/gpu_rows.h"
#include "kernels/softmax/gpu_args.h"

SPEC_BOOL(0, softmax_vectors)  // every row is aligned to 16 bytes

KERNELS_BEGIN(softmax)

template <typename T SPEC_TPARAM>
KERNEL(softmax, SHADOW(T, x), OUT(T, out), PARAMS(GpuSoftmax, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  constexpr int kKept = 4;
  SHARED(float, partial_max, 32);
  SHARED(float, partial_sum, 32);
  const ulong row = ulong(GROUP_ID.x) * p.cols;
  const uint first = V * THREAD_ID, step = V * GROUP_SIZE;
  const bool vectors = SPEC(softmax_vectors);

  float kept[kKept][V];
  UNROLL for (int k = 0; k < kKept; k++) {
    load_part<V>(x + row, first + k * step, p.cols, vectors, kept[k]);
  }
  float largest = -INFINITY;
  UNROLL for (int k = 0; k < kKept; k++) {
    UNROLL for (int j = 0; j < V; j++) {
      if (in_row(first + k * step, j, p.cols, vectors)) largest = max(largest, kept[k][j]);
    }
  }
  for (uint at = first + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_part<V>(x + row, at, p.cols, vectors, v);
    UNROLL for (int j = 0; j < V; j++) {
      if (in_row(at, j, p.cols, vectors)) largest = max(largest, v[j]);
    }
  }
  largest = group_max(largest, partial_max, IN_GROUP);
  // A row of -infinity then sums to 0; one with NaN or +infinity to NaN, whatever max made of it.
  const float shift = largest == -INFINITY ? 0.0f : largest;

  float sum = 0.0f;
  UNROLL for (int k = 0; k < kKept; k++) {
    UNROLL for (int j = 0; j < V; j++) {
      kept[k][j] = exp(kept[k][j] - shift);
      if (in_row(first + k * step, j, p.cols, vectors)) sum = sum + kept[k][j];
    }
  }
  for (uint at = first + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_part<V>(x + row, at, p.cols, vectors, v);
    UNROLL for (int j = 0; j < V; j++) {
      if (in_row(at, j, p.cols, vectors)) sum = sum + exp(v[j] - shift);
    }
  }
  sum = group_sum(sum, partial_sum, IN_GROUP);
  const float factor = sum == 0.0f ? 0.0f : 1.0f / sum;

  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = first + k * step;
    if (at < p.cols) {
      UNROLL for (int j = 0; j < V; j++) kept[k][j] = kept[k][j] * factor;
      store_part<V>(out + row, at, p.cols, vectors, kept[k]);
    }
  }
  for (uint at = first + kKept * step; at < p.cols; at += step) {
    float v[V];
    load_part<V>(x + row, at, p.cols, vectors, v);
    UNROLL for (int j = 0; j < V; j++) v[j] = exp(v[j] - shift) * factor;
    store_part<V>(out + row, at, p.cols, vectors, v);
  }
}

INSTANTIATE_SPEC(softmax_f32, softmax, 1, float)
INSTANTIATE_SPEC(softmax_f16, softmax, 1, half)
INSTANTIATE_SPEC(softmax_bf16, softmax, 1, bfloat)

KERNELS_END
