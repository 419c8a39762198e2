// SPDX-License-Identifier: Apache-2.0
// rms_norm and its fused forms: one threadgroup per row. A thread keeps the first kKept * V of its
// elements in registers and reads the others a second time; nothing is written before the row's sum
// is known, so that every operand may be read twice even where an output lies on it.
//   x, add_before, add_after, factor, sum, out [rows, dim]   weight [dim]
#include "kernels/common/gpu_rows.h"
#include "kernels/rms_norm/gpu_args.h"

KERNELS_BEGIN(rms_norm)

// x + add_before, elements at .. at + V - 1 of the row.
template <int V, typename T>
GPU_FN void rms_norm_input(DEVICE const T* x, DEVICE const T* add_before, uint at,
                           CONSTANT GpuRmsNorm& p, THREAD float* v) {
  load_row<V>(x + at, p.dim - at, p.vectors != 0, v);
  if (p.add_before == 0) return;
  float add[V];
  load_row<V>(add_before + at, p.dim - at, p.vectors != 0, add);
  UNROLL for (int j = 0; j < V; j++) v[j] = v[j] + add[j];
}

template <int V, typename T, typename W>
GPU_FN void rms_norm_output(DEVICE const T* add_after, DEVICE const T* factor,
                            DEVICE const W* weight, DEVICE T* sum, DEVICE T* out, uint at,
                            float inverse_rms, CONSTANT GpuRmsNorm& p, THREAD float* v) {
  const uint left = p.dim - at;
  const bool vectors = p.vectors != 0;
  if (p.sum != 0) store_row<V>(sum + at, left, vectors, v);
  float other[V];
  UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * inverse_rms;
  if (p.weight != 0) {
    load_row<V>(weight + at, left, vectors, other);
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * (p.weight_offset + other[j]);
  }
  if (p.factor != 0) {
    load_row<V>(factor + at, left, vectors, other);
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * other[j];
  }
  if (p.add_after != 0) {
    load_row<V>(add_after + at, left, vectors, other);
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] + other[j];
  }
  UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * p.scale;
  store_row<V>(out + at, left, vectors, v);
}

template <typename T, typename W>
KERNEL(rms_norm, SHADOW(T, x), SHADOW(T, add_before), SHADOW(T, add_after), SHADOW(T, factor),
       IN(W, weight), OUT(T, sum), OUT(T, out), PARAMS(GpuRmsNorm, p)) {
  constexpr int V = 16 / sizeof(T);
  constexpr int kKept = 2;
  SHARED(float, partial, 32);
  const ulong row = ulong(GROUP_ID.x) * p.dim;
  const uint step = V * GROUP_SIZE;

  float kept[kKept][V];
  float sum_sq = 0.0f;
  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = V * THREAD_ID + k * step;
    if (at < p.dim) {
      rms_norm_input<V>(x + row, add_before + row, at, p, kept[k]);
      UNROLL for (int j = 0; j < V; j++) sum_sq = fma(kept[k][j], kept[k][j], sum_sq);
    }
  }
  for (uint at = V * THREAD_ID + kKept * step; at < p.dim; at += step) {
    float v[V];
    rms_norm_input<V>(x + row, add_before + row, at, p, v);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(v[j], v[j], sum_sq);
  }
  sum_sq = group_sum(sum_sq, partial, IN_GROUP);
  const float inverse_rms = 1.0f / sqrt(sum_sq / float(p.dim) + p.eps);

  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = V * THREAD_ID + k * step;
    if (at < p.dim) {
      rms_norm_output<V>(add_after + row, factor + row, weight, sum + row, out + row, at,
                         inverse_rms, p, kept[k]);
    }
  }
  for (uint at = V * THREAD_ID + kKept * step; at < p.dim; at += step) {
    float v[V];
    rms_norm_input<V>(x + row, add_before + row, at, p, v);
    rms_norm_output<V>(add_after + row, factor + row, weight, sum + row, out + row, at, inverse_rms,
                       p, v);
  }
}

INSTANTIATE(rms_norm_f32_f32, rms_norm, float, float)
INSTANTIATE(rms_norm_f32_f16, rms_norm, float, half)
INSTANTIATE(rms_norm_f32_bf16, rms_norm, float, bfloat)
INSTANTIATE(rms_norm_f16_f32, rms_norm, half, float)
INSTANTIATE(rms_norm_f16_f16, rms_norm, half, half)
INSTANTIATE(rms_norm_f16_bf16, rms_norm, half, bfloat)
INSTANTIATE(rms_norm_bf16_f32, rms_norm, bfloat, float)
INSTANTIATE(rms_norm_bf16_f16, rms_norm, bfloat, half)
INSTANTIATE(rms_norm_bf16_bf16, rms_norm, bfloat, bfloat)

KERNELS_END
