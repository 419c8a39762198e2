// SPDX-License-Identifier: Apache-2.0
// rms_norm and its fused forms: one threadgroup per row. A thread keeps the first kKept * V of its
// elements in registers and reads the others a second time; nothing is written before the row's sum
// is known, so that every operand may be read twice even where an output lies on it.
//   x, add_before, add_after, factor, sum, out [rows, dim]   weight [dim]
#include "kernels/common/gpu_rows.h"
#include "kernels/rms_norm/gpu_args.h"

SPEC_BOOL(0, norm_vectors)  // every row of every operand is aligned to 16 bytes
SPEC_BOOL(1, norm_plain)    // so it is, there is x, weight and out, and the scale is 1; without
                            // bit 0 weights are read with x, which takes registers

KERNELS_BEGIN(rms_norm)

// x + add_before: N parts of V elements, `step` apart.
template <int N, int V, typename T>
GPU_FN void rms_norm_input(DEVICE const T* x, DEVICE const T* add_before, bool adds, uint at,
                           uint step, bool vectors, uint dim, THREAD float (&v)[N][V]) {
  UNROLL for (int k = 0; k < N; k++) load_part<V>(x, at + k * step, dim, vectors, v[k]);
  if (!adds) return;
  UNROLL for (int k = 0; k < N; k++) {
    float add[V];
    load_part<V>(add_before, at + k * step, dim, vectors, add);
    UNROLL for (int j = 0; j < V; j++) v[k][j] = v[k][j] + add[j];
  }
}

template <int V, typename T, typename W>
GPU_FN void rms_norm_output(DEVICE const T* add_after, DEVICE const T* factor,
                            DEVICE const W* weight, bool loaded, THREAD const float* loaded_weight,
                            DEVICE T* sum, DEVICE T* out, uint at, float inverse_rms, bool vectors,
                            bool plain, CONSTANT GpuRmsNorm& p, THREAD float* v) {
  if (!plain && p.sum != 0) store_part<V>(sum, at, p.dim, vectors, v);
  float other[V];
  UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * inverse_rms;
  if (plain || p.weight != 0) {
    if (!loaded) load_part<V>(weight, at, p.dim, vectors, other);
    UNROLL for (int j = 0; j < V; j++) {
      v[j] = v[j] * (p.weight_offset + (loaded ? loaded_weight[j] : other[j]));
    }
  }
  if (!plain && p.factor != 0) {
    load_part<V>(factor, at, p.dim, vectors, other);
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * other[j];
  }
  if (!plain && p.add_after != 0) {
    load_part<V>(add_after, at, p.dim, vectors, other);
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] + other[j];
  }
  if (!plain) {
    UNROLL for (int j = 0; j < V; j++) v[j] = v[j] * p.scale;
  }
  store_part<V>(out, at, p.dim, vectors, v);
}

template <typename T, typename W SPEC_TPARAM>
KERNEL(rms_norm, SHADOW(T, x), SHADOW(T, add_before), SHADOW(T, add_after), SHADOW(T, factor),
       IN(W, weight), OUT(T, sum), OUT(T, out), PARAMS(GpuRmsNorm, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  constexpr int kKept = 2;
  SHARED(float, partial, 32);
  const ulong row = ulong(GROUP_ID.x) * p.dim;
  const uint first = V * THREAD_ID, step = V * GROUP_SIZE;
  const bool plain = SPEC(norm_plain), vectors = plain || SPEC(norm_vectors);
  const bool early = plain && !SPEC(norm_vectors);
  const bool adds = !plain && p.add_before != 0;

  float kept[kKept][V];
  rms_norm_input(x + row, add_before + row, adds, first, step, vectors, p.dim, kept);
  float weights[kKept][V];
  UNROLL for (int k = 0; k < kKept; k++) {
    if (early) load_part<V>(weight, first + k * step, p.dim, vectors, weights[k]);
  }
  float sum_sq = 0.0f;
  UNROLL for (int k = 0; k < kKept; k++) {
    if (first + k * step < p.dim) {
      UNROLL for (int j = 0; j < V; j++) sum_sq = fma(kept[k][j], kept[k][j], sum_sq);
    }
  }
  for (uint at = first + kKept * step; at < p.dim; at += step) {
    float v[1][V];
    rms_norm_input(x + row, add_before + row, adds, at, step, vectors, p.dim, v);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(v[0][j], v[0][j], sum_sq);
  }
  sum_sq = group_sum(sum_sq, partial, IN_GROUP);
  const float inverse_rms = 1.0f / sqrt(sum_sq / float(p.dim) + p.eps);

  UNROLL for (int k = 0; k < kKept; k++) {
    const uint at = first + k * step;
    if (at < p.dim) {
      rms_norm_output<V>(add_after + row, factor + row, weight, early, weights[k], sum + row,
                         out + row, at, inverse_rms, vectors, plain, p, kept[k]);
    }
  }
  for (uint at = first + kKept * step; at < p.dim; at += step) {
    float v[1][V];
    rms_norm_input(x + row, add_before + row, adds, at, step, vectors, p.dim, v);
    rms_norm_output<V>(add_after + row, factor + row, weight, false, weights[0], sum + row,
                       out + row, at, inverse_rms, vectors, plain, p, v[0]);
  }
}

INSTANTIATE_SPEC(rms_norm_f32_f32, rms_norm, 2, float, float)
INSTANTIATE_SPEC(rms_norm_f32_f16, rms_norm, 2, float, half)
INSTANTIATE_SPEC(rms_norm_f32_bf16, rms_norm, 2, float, bfloat)
INSTANTIATE_SPEC(rms_norm_f16_f32, rms_norm, 2, half, float)
INSTANTIATE_SPEC(rms_norm_f16_f16, rms_norm, 2, half, half)
INSTANTIATE_SPEC(rms_norm_f16_bf16, rms_norm, 2, half, bfloat)
INSTANTIATE_SPEC(rms_norm_bf16_f32, rms_norm, 2, bfloat, float)
INSTANTIATE_SPEC(rms_norm_bf16_f16, rms_norm, 2, bfloat, half)
INSTANTIATE_SPEC(rms_norm_bf16_bf16, rms_norm, 2, bfloat, bfloat)

// residual_norms: the size of the group and the order of additions are those of rms_norm, so that
// the bits are. A thread keeps all its elements, kVectors vectors, in registers.
//   residual, x, sum, out [rows, dim]   experts [rows, top_k, dim]   expert_weights [rows, top_k]
//   all weights [dim]
enum { kV = 4, kVectors = 2, kExpertsAtOnce = 4 };

// 1 / sqrt(mean of squares + eps) of the row.
GPU_FN float inverse_rms(THREAD const float (&v)[kVectors][kV], uint first, uint step,
                         THREADGROUP float* partial, uint lane, uint simd, uint simds,
                         CONSTANT GpuResidualNorms& p) {
  float sum_sq = 0.0f;
  UNROLL for (int k = 0; k < kVectors; k++) {
    if (first + k * step < p.dim) {
      UNROLL for (int j = 0; j < kV; j++) sum_sq = fma(v[k][j], v[k][j], sum_sq);
    }
  }
  sum_sq = group_sum(sum_sq, partial, lane, simd, simds);
  return 1.0f / sqrt(sum_sq / float(p.dim) + p.eps);
}

// v times 1 / rms and weight number i, from element `at` on.
GPU_FN void norm_elements(DEVICE const float* weight, uint i, float offset, uint at, float inverse,
                          CONSTANT GpuResidualNorms& p, THREAD float* v) {
  UNROLL for (int j = 0; j < kV; j++) v[j] = v[j] * inverse;
  if ((p.weights >> i & 1) == 0) return;
  float w[kV];
  load_row<kV>(weight + at, p.dim - at, p.vectors != 0, w);
  UNROLL for (int j = 0; j < kV; j++) v[j] = v[j] * (offset + w[j]);
}

// The experts' rows times their weights, one expert after the other.
GPU_FN void mix_experts(DEVICE const float* experts, DEVICE const float* weights, uint at,
                        CONSTANT GpuResidualNorms& p, THREAD float* v) {
  UNROLL for (int j = 0; j < kV; j++) v[j] = 0.0f;
  for (uint first = 0; first < p.top_k; first += kExpertsAtOnce) {
    float rows[kExpertsAtOnce][kV];
    UNROLL for (uint i = 0; i < kExpertsAtOnce; i++) {
      const uint expert = min(first + i, p.top_k - 1);
      load_row<kV>(experts + ulong(expert) * p.dim + at, p.dim - at, p.vectors != 0, rows[i]);
    }
    UNROLL for (uint i = 0; i < kExpertsAtOnce; i++) {
      if (first + i >= p.top_k) break;
      const float weight = weights[first + i];
      UNROLL for (int j = 0; j < kV; j++) v[j] = weight * rows[i][j] + v[j];
    }
  }
}

GPU_FN void store_normed(DEVICE const float* weight, DEVICE float* out, uint i, float offset,
                         uint at, float inverse, CONSTANT GpuResidualNorms& p,
                         THREAD const float* sum) {
  if (i >= p.num_normed) return;
  float v[kV];
  UNROLL for (int j = 0; j < kV; j++) v[j] = sum[j];
  norm_elements(weight, 3 + i, offset, at, inverse, p, v);
  store_row<kV>(out + at, p.dim - at, p.vectors != 0, v);
}

template <bool kExperts>
KERNEL(residual_norms, SHADOW(float, residual), IN(float, x), IN(float, experts),
       IN(float, expert_weights), IN(float, x_weight), IN(float, experts_weight), IN(float, weight),
       IN(float, weight0), IN(float, weight1), IN(float, weight2), OUT(float, sum),
       OUT(float, out0), OUT(float, out1), OUT(float, out2), PARAMS(GpuResidualNorms, p)) {
  await_inputs();
  SHARED(float, x_sums, 32);
  SHARED(float, mixed_sums, 32);
  SHARED(float, branch_sums, 32);
  SHARED(float, sums, 32);
  const ulong row = ulong(GROUP_ID.x) * p.dim;
  const uint first = kV * THREAD_ID, step = kV * GROUP_SIZE;
  const bool vectors = p.vectors != 0;

  float v[kVectors][kV];
  UNROLL for (int k = 0; k < kVectors; k++) {
    const uint at = first + k * step;
    if (at < p.dim) load_row<kV>(x + row + at, p.dim - at, vectors, v[k]);
  }
  if (kExperts) {
    const ulong first_expert = ulong(GROUP_ID.x) * p.top_k;
    float mixed[kVectors][kV];
    UNROLL for (int k = 0; k < kVectors; k++) {
      const uint at = first + k * step;
      if (at < p.dim) {
        mix_experts(experts + first_expert * p.dim, expert_weights + first_expert, at, p, mixed[k]);
      }
    }
    const float inverse_x = inverse_rms(v, first, step, x_sums, IN_GROUP, p);
    const float inverse_mixed = inverse_rms(mixed, first, step, mixed_sums, IN_GROUP, p);
    UNROLL for (int k = 0; k < kVectors; k++) {
      const uint at = first + k * step;
      if (at < p.dim) {
        norm_elements(x_weight, 0, p.x_offset, at, inverse_x, p, v[k]);
        norm_elements(experts_weight, 1, p.experts_offset, at, inverse_mixed, p, mixed[k]);
        UNROLL for (int j = 0; j < kV; j++) v[k][j] = mixed[k][j] + v[k][j];
      }
    }
  }
  const float inverse_branch = inverse_rms(v, first, step, branch_sums, IN_GROUP, p);
  UNROLL for (int k = 0; k < kVectors; k++) {
    const uint at = first + k * step;
    if (at < p.dim) {
      float r[kV];
      load_row<kV>(residual + row + at, p.dim - at, vectors, r);
      norm_elements(weight, 2, p.offset, at, inverse_branch, p, v[k]);
      UNROLL for (int j = 0; j < kV; j++) v[k][j] = (v[k][j] + r[j]) * p.scale;
      store_row<kV>(sum + row + at, p.dim - at, vectors, v[k]);
    }
  }
  if (p.num_normed == 0) return;
  const float inverse = inverse_rms(v, first, step, sums, IN_GROUP, p);
  UNROLL for (int k = 0; k < kVectors; k++) {
    const uint at = first + k * step;
    if (at < p.dim) {
      store_normed(weight0, out0 + row, 0, p.normed_offset0, at, inverse, p, v[k]);
      store_normed(weight1, out1 + row, 1, p.normed_offset1, at, inverse, p, v[k]);
      store_normed(weight2, out2 + row, 2, p.normed_offset2, at, inverse, p, v[k]);
    }
  }
}

INSTANTIATE(residual_norms_plain, residual_norms, false)
INSTANTIATE(residual_norms_experts, residual_norms, true)

KERNELS_END
