// SPDX-License-Identifier: Apache-2.0
// rms_norm and its fused forms: one threadgroup per row. A thread keeps the first kKept * V of its
// elements in registers and reads the others a second time; nothing is written before the row's sum
// is known, so that every operand may be read twice even where an output lies on it.
//   x, add_before, add_after, factor, sum, out [rows, dim]   weight [dim]
#include "kernels/common/gpu_hints.h"
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
// the bits are. A thread keeps all its elements, kVectors vectors, in registers. A token has one
// threadgroup, whose time is that of one access to memory after the other: weights are on their way
// to the cache before the rows are there, and asked for with, or a sum ahead of, what they
// multiply.
//   residual, x, sum, out [rows, dim]   experts [rows, top_k, dim]   expert_weights [rows, top_k]
//   all weights [dim]
enum { kV = 4, kVectors = 2, kExpertsAtOnce = 4 };

// Where this thread's elements lie.
struct NormPlace {
  uint first, step;
};

// Of weight number i, whether it is there.
GPU_FN bool has_weight(uint i, CONSTANT GpuResidualNorms& p) { return (p.weights >> i & 1) != 0; }

// Line number `line` of it.
GPU_FN void prefetch_weight(DEVICE const float* weight, uint i, uint line,
                            CONSTANT GpuResidualNorms& p) {
  const uint at = line * (128 / sizeof(float));
  if (has_weight(i, p) && at < p.dim) prefetch(weight + at);
}

GPU_FN void load_elements(DEVICE const float* row, NormPlace place, CONSTANT GpuResidualNorms& p,
                          THREAD float (&v)[kVectors][kV]) {
  UNROLL for (int k = 0; k < kVectors; k++) {
    const uint at = place.first + k * place.step;
    if (at < p.dim) load_row<kV>(row + at, p.dim - at, p.vectors != 0, v[k]);
  }
}
GPU_FN void store_elements(DEVICE float* row, NormPlace place, CONSTANT GpuResidualNorms& p,
                           THREAD const float (&v)[kVectors][kV]) {
  UNROLL for (int k = 0; k < kVectors; k++) {
    const uint at = place.first + k * place.step;
    if (at < p.dim) store_row<kV>(row + at, p.dim - at, p.vectors != 0, v[k]);
  }
}
GPU_FN void load_weight(DEVICE const float* weight, uint i, NormPlace place,
                        CONSTANT GpuResidualNorms& p, THREAD float (&v)[kVectors][kV]) {
  if (has_weight(i, p)) load_elements(weight, place, p, v);
}

// 1 / sqrt(mean of squares + eps) of the row.
GPU_FN float inverse_rms(THREAD const float (&v)[kVectors][kV], NormPlace place,
                         THREADGROUP float* partial, uint lane, uint simd, uint simds,
                         CONSTANT GpuResidualNorms& p) {
  float sum_sq = 0.0f;
  UNROLL for (int k = 0; k < kVectors; k++) {
    if (place.first + k * place.step < p.dim) {
      UNROLL for (int j = 0; j < kV; j++) sum_sq = fma(v[k][j], v[k][j], sum_sq);
    }
  }
  sum_sq = group_sum(sum_sq, partial, lane, simd, simds);
  return 1.0f / sqrt(sum_sq / float(p.dim) + p.eps);
}

// to = v times 1 / rms and weight number i.
GPU_FN void norm_elements(THREAD const float (&v)[kVectors][kV], float inverse, uint i,
                          float offset, THREAD const float (&w)[kVectors][kV],
                          CONSTANT GpuResidualNorms& p, THREAD float (&to)[kVectors][kV]) {
  UNROLL for (int k = 0; k < kVectors; k++) {
    UNROLL for (int j = 0; j < kV; j++) {
      const float normed = v[k][j] * inverse;
      to[k][j] = has_weight(i, p) ? normed * (offset + w[k][j]) : normed;
    }
  }
}

// The experts' rows times their weights, one expert after the other.
GPU_FN void mix_experts(DEVICE const float* experts, DEVICE const float* weights, NormPlace place,
                        CONSTANT GpuResidualNorms& p, THREAD float (&v)[kVectors][kV]) {
  UNROLL for (int k = 0; k < kVectors; k++) { UNROLL for (int j = 0; j < kV; j++) v[k][j] = 0.0f; }
  for (uint first = 0; first < p.top_k; first += kExpertsAtOnce) {
    float rows[kExpertsAtOnce][kVectors][kV], factor[kExpertsAtOnce];
    UNROLL for (uint i = 0; i < kExpertsAtOnce; i++) {
      const uint expert = min(first + i, p.top_k - 1);
      factor[i] = weights[expert];
      load_elements(experts + ulong(expert) * p.dim, place, p, rows[i]);
    }
    UNROLL for (uint i = 0; i < kExpertsAtOnce; i++) {
      if (first + i >= p.top_k) break;
      UNROLL for (int k = 0; k < kVectors; k++) {
        UNROLL for (int j = 0; j < kV; j++) v[k][j] = factor[i] * rows[i][k][j] + v[k][j];
      }
    }
  }
}

GPU_FN void store_normed(DEVICE float* out, uint i, float offset, NormPlace place, float inverse,
                         THREAD const float (&w)[kVectors][kV], CONSTANT GpuResidualNorms& p,
                         THREAD const float (&sum)[kVectors][kV]) {
  if (i >= p.num_normed) return;
  float v[kVectors][kV];
  norm_elements(sum, inverse, 3 + i, offset, w, p, v);
  store_elements(out, place, p, v);
}

template <bool kExperts>
KERNEL_UP_TO(1024, residual_norms, SHADOW(float, residual), IN(float, x), IN(float, experts),
             IN(float, expert_weights), IN(float, x_weight), IN(float, experts_weight),
             IN(float, weight), IN(float, weight0), IN(float, weight1), IN(float, weight2),
             OUT(float, sum), OUT(float, out0), OUT(float, out1), OUT(float, out2),
             PARAMS(GpuResidualNorms, p)) {
  if (kExperts) prefetch_weight(x_weight, 0, THREAD_ID, p);
  if (kExperts) prefetch_weight(experts_weight, 1, THREAD_ID, p);
  prefetch_weight(weight, 2, THREAD_ID, p);
  prefetch_weight(weight0, 3, THREAD_ID, p);
  prefetch_weight(weight1, 4, THREAD_ID, p);
  prefetch_weight(weight2, 5, THREAD_ID, p);
  await_inputs();
  SHARED(float, x_sums, 32);
  SHARED(float, mixed_sums, 32);
  SHARED(float, branch_sums, 32);
  SHARED(float, sums, 32);
  const ulong row = ulong(GROUP_ID.x) * p.dim;
  const NormPlace place = {kV * THREAD_ID, kV * GROUP_SIZE};

  float v[kVectors][kV], r[kVectors][kV], w[kVectors][kV];
  load_elements(x + row, place, p, v);
  if (kExperts) {
    const ulong first_expert = ulong(GROUP_ID.x) * p.top_k;
    float mixed[kVectors][kV], of_x[kVectors][kV], of_experts[kVectors][kV];
    mix_experts(experts + first_expert * p.dim, expert_weights + first_expert, place, p, mixed);
    load_weight(x_weight, 0, place, p, of_x);
    load_weight(experts_weight, 1, place, p, of_experts);
    const float inverse_x = inverse_rms(v, place, x_sums, IN_GROUP, p);
    const float inverse_mixed = inverse_rms(mixed, place, mixed_sums, IN_GROUP, p);
    norm_elements(v, inverse_x, 0, p.x_offset, of_x, p, v);
    norm_elements(mixed, inverse_mixed, 1, p.experts_offset, of_experts, p, mixed);
    UNROLL for (int k = 0; k < kVectors; k++) {
      UNROLL for (int j = 0; j < kV; j++) v[k][j] = mixed[k][j] + v[k][j];
    }
  }
  load_elements(residual + row, place, p, r);
  load_weight(weight, 2, place, p, w);
  const float inverse_branch = inverse_rms(v, place, branch_sums, IN_GROUP, p);
  norm_elements(v, inverse_branch, 2, p.offset, w, p, v);
  UNROLL for (int k = 0; k < kVectors; k++) {
    UNROLL for (int j = 0; j < kV; j++) v[k][j] = (v[k][j] + r[k][j]) * p.scale;
  }
  store_elements(sum + row, place, p, v);
  if (p.num_normed == 0) return;
  float w1[kVectors][kV], w2[kVectors][kV];
  load_weight(weight0, 3, place, p, w);
  load_weight(weight1, 4, place, p, w1);
  load_weight(weight2, 5, place, p, w2);
  const float inverse = inverse_rms(v, place, sums, IN_GROUP, p);
  store_normed(out0 + row, 0, p.normed_offset0, place, inverse, w, p, v);
  store_normed(out1 + row, 1, p.normed_offset1, place, inverse, w1, p, v);
  store_normed(out2 + row, 2, p.normed_offset2, place, inverse, w2, p, v);
}

INSTANTIATE(residual_norms_plain, residual_norms, false)
INSTANTIATE(residual_norms_experts, residual_norms, true)

KERNELS_END
