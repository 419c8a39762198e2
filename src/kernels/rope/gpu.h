// SPDX-License-Identifier: Apache-2.0
// rope and head_norm_rope. A simdgroup takes some heads of one token and shares the sines and
// cosines of its position among them. A head is walked in units, the two elements of a pair, V
// units at a time; elements behind the last unit are copied, or only normed.
//   x, out [tokens, heads, head_dim]   weight [head_dim]   positions [tokens]   inv_freq [pairs]
#include "kernels/common/gpu_math.h"
#include "kernels/common/gpu_rows.h"
#include "kernels/rope/gpu_args.h"

KERNELS_BEGIN(rope)

// Cosines and sines of units unit .. unit + V - 1; what is not rotated gets none.
template <int V>
GPU_FN void rope_angles(DEVICE const float* inv_freq, float position, uint unit, uint pairs,
                        THREAD float* c, THREAD float* s) {
  UNROLL for (int j = 0; j < V; j++) {
    const bool rotates = unit + j < pairs;
    const float angle = rotates ? position * inv_freq[unit + j] : 0.0f;
    sin_cos(angle, s + j, c + j);
  }
}

// First and second elements of V units of a row.
template <int V, typename T>
GPU_FN void load_units(DEVICE const T* row, uint unit, CONSTANT GpuRope& p, THREAD float* a,
                       THREAD float* b) {
  const uint left = p.units - unit;
  if (p.half_dim != 0) {
    load_row<V>(row + unit, left, p.vectors != 0, a);
    load_row<V>(row + p.half_dim + unit, left, p.vectors != 0, b);
    return;
  }
  float both[2 * V];
  load_row<2 * V>(row + 2 * unit, 2 * left, p.vectors != 0, both);
  UNROLL for (int j = 0; j < V; j++) {
    a[j] = both[2 * j];
    b[j] = both[2 * j + 1];
  }
}
template <int V, typename T>
GPU_FN void store_units(DEVICE T* row, uint unit, CONSTANT GpuRope& p, THREAD const float* a,
                        THREAD const float* b) {
  const uint left = p.units - unit;
  if (p.half_dim != 0) {
    store_row<V>(row + unit, left, p.vectors != 0, a);
    store_row<V>(row + p.half_dim + unit, left, p.vectors != 0, b);
    return;
  }
  float both[2 * V];
  UNROLL for (int j = 0; j < V; j++) {
    both[2 * j] = a[j];
    both[2 * j + 1] = b[j];
  }
  store_row<2 * V>(row + 2 * unit, 2 * left, p.vectors != 0, both);
}

template <int V, bool kNorm, typename T, typename W>
GPU_FN void rope_units(DEVICE const T* x, DEVICE const W* weight, DEVICE T* out, uint unit,
                       uint pairs, float inverse_rms, CONSTANT GpuRope& p, THREAD const float* c,
                       THREAD const float* s) {
  if (unit >= p.units) return;
  float a[V], b[V];
  load_units<V>(x, unit, p, a, b);
  if (kNorm) {
    float wa[V], wb[V];
    if (p.weight != 0) load_units<V>(weight, unit, p, wa, wb);
    UNROLL for (int j = 0; j < V; j++) {
      a[j] = a[j] * inverse_rms;
      b[j] = b[j] * inverse_rms;
      if (p.weight != 0) a[j] = a[j] * (p.weight_offset + wa[j]);
      if (p.weight != 0) b[j] = b[j] * (p.weight_offset + wb[j]);
    }
  }
  UNROLL for (int j = 0; j < V; j++) {
    if (unit + j < pairs) {
      const float first = a[j], second = b[j];
      a[j] = first * c[j] - second * s[j];
      b[j] = first * s[j] + second * c[j];
    }
  }
  store_units<V>(out, unit, p, a, b);
}

// 1 / sqrt(mean(x^2) + eps) of a head, in the order of its units.
template <int V, typename T>
GPU_FN float head_inverse_rms(DEVICE const T* x, uint lane, CONSTANT GpuRope& p) {
  float sum_sq = 0.0f;
  float a[V], b[V];
  for (uint unit = V * lane; unit < p.units; unit += V * SIMD_WIDTH) {
    load_units<V>(x, unit, p, a, b);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(a[j], a[j], fma(b[j], b[j], sum_sq));
  }
  for (uint at = 2 * p.units + V * lane; at < p.head_dim; at += V * SIMD_WIDTH) {
    load_row<V>(x + at, p.head_dim - at, p.vectors != 0, a);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(a[j], a[j], sum_sq);
  }
  return 1.0f / sqrt(simd_sum(sum_sq) / float(p.head_dim) + p.eps);
}

// Elements behind the last unit.
template <int V, bool kNorm, typename T, typename W>
GPU_FN void rope_tail(DEVICE const T* x, DEVICE const W* weight, DEVICE T* out, uint lane,
                      float inverse_rms, CONSTANT GpuRope& p) {
  for (uint at = 2 * p.units + V * lane; at < p.head_dim; at += V * SIMD_WIDTH) {
    const uint left = p.head_dim - at;
    float v[V], w[V];
    load_row<V>(x + at, left, p.vectors != 0, v);
    if (kNorm) {
      if (p.weight != 0) load_row<V>(weight + at, left, p.vectors != 0, w);
      UNROLL for (int j = 0; j < V; j++) {
        v[j] = v[j] * inverse_rms;
        if (p.weight != 0) v[j] = v[j] * (p.weight_offset + w[j]);
      }
    }
    store_row<V>(out + at, left, p.vectors != 0, v);
  }
}

template <bool kNorm, typename T, typename W>
KERNEL(rope, SHADOW(T, x), IN(W, weight), IN(int, positions), IN(float, inv_freq), OUT(T, out),
       PARAMS(GpuRope, p)) {
  constexpr int V = 4;
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds) return;
  const uint token = index / p.chunks;
  const uint first = index % p.chunks * p.heads_per_simd;
  const uint heads = min(p.heads_per_simd, p.heads - first);
  const ulong row = (ulong(token) * p.heads + first) * p.head_dim;
  const int position = p.pairs > 0 ? positions[token] : 0;
  // Position 0 rotates by nothing: elements stay exactly as they are.
  const uint pairs = position != 0 ? p.pairs : 0;

  float inverse = 1.0f;  // lane h: 1 / rms of head first + h
  for (uint h = 0; kNorm && h < heads; h++) {
    const float inverse_rms = head_inverse_rms<V>(x + row + h * p.head_dim, LANE, p);
    if (LANE == h) inverse = inverse_rms;
  }
  for (uint begin = 0; begin < p.units; begin += V * SIMD_WIDTH) {
    const uint unit = begin + V * LANE;
    float c[V], s[V];
    rope_angles<V>(inv_freq, float(position), unit, pairs, c, s);
    for (uint h = 0; h < heads; h++) {
      const float inverse_rms = kNorm ? simd_shuffle(inverse, h) : 1.0f;
      const ulong at = row + h * p.head_dim;
      rope_units<V, kNorm>(x + at, weight, out + at, unit, pairs, inverse_rms, p, c, s);
    }
  }
  for (uint h = 0; h < heads && 2 * p.units < p.head_dim; h++) {
    const float inverse_rms = kNorm ? simd_shuffle(inverse, h) : 1.0f;
    const ulong at = row + h * p.head_dim;
    rope_tail<V, kNorm>(x + at, weight, out + at, LANE, inverse_rms, p);
  }
}

INSTANTIATE(rope_f32, rope, false, float, float)
INSTANTIATE(rope_f16, rope, false, half, float)
INSTANTIATE(rope_bf16, rope, false, bfloat, float)
INSTANTIATE(head_norm_rope_f32_f32, rope, true, float, float)
INSTANTIATE(head_norm_rope_f32_f16, rope, true, float, half)
INSTANTIATE(head_norm_rope_f32_bf16, rope, true, float, bfloat)
INSTANTIATE(head_norm_rope_f16_f32, rope, true, half, float)
INSTANTIATE(head_norm_rope_f16_f16, rope, true, half, half)
INSTANTIATE(head_norm_rope_f16_bf16, rope, true, half, bfloat)
INSTANTIATE(head_norm_rope_bf16_f32, rope, true, bfloat, float)
INSTANTIATE(head_norm_rope_bf16_f16, rope, true, bfloat, half)
INSTANTIATE(head_norm_rope_bf16_bf16, rope, true, bfloat, bfloat)

KERNELS_END
