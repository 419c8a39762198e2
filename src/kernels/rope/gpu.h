// SPDX-License-Identifier: Apache-2.0
// rope, head_norm_rope and qkv_rope. A simdgroup takes some heads of one token and shares the sines
// and cosines of its position among them. A head is walked in units, the two elements of a pair, V
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

template <int V, bool kNorm, typename T, typename W, typename To>
GPU_FN void rope_units(DEVICE const T* x, DEVICE const W* weight, bool has_weight, DEVICE To* out,
                       uint unit, uint pairs, float inverse_rms, CONSTANT GpuRope& p,
                       THREAD const float* c, THREAD const float* s) {
  if (unit >= p.units) return;
  float a[V], b[V];
  load_units<V>(x, unit, p, a, b);
  if (kNorm) {
    float wa[V], wb[V];
    if (has_weight) load_units<V>(weight, unit, p, wa, wb);
    UNROLL for (int j = 0; j < V; j++) {
      a[j] = a[j] * inverse_rms;
      b[j] = b[j] * inverse_rms;
      if (has_weight) a[j] = a[j] * (p.weight_offset + wa[j]);
      if (has_weight) b[j] = b[j] * (p.weight_offset + wb[j]);
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

// 1 / sqrt(mean(x^2) + eps) of a head, in the order of its units, p.units or none.
template <int V, typename T>
GPU_FN float head_inverse_rms(DEVICE const T* x, uint units, uint lane, CONSTANT GpuRope& p) {
  float sum_sq = 0.0f;
  float a[V], b[V];
  for (uint unit = V * lane; unit < units; unit += V * SIMD_WIDTH) {
    load_units<V>(x, unit, p, a, b);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(a[j], a[j], fma(b[j], b[j], sum_sq));
  }
  for (uint at = 2 * units + V * lane; at < p.head_dim; at += V * SIMD_WIDTH) {
    load_row<V>(x + at, p.head_dim - at, p.vectors != 0, a);
    UNROLL for (int j = 0; j < V; j++) sum_sq = fma(a[j], a[j], sum_sq);
  }
  return 1.0f / sqrt(simd_sum(sum_sq) / float(p.head_dim) + p.eps);
}

// Elements behind the last unit.
template <int V, bool kNorm, typename T, typename W, typename To>
GPU_FN void rope_tail(DEVICE const T* x, DEVICE const W* weight, bool has_weight, DEVICE To* out,
                      uint units, uint lane, float inverse_rms, CONSTANT GpuRope& p) {
  for (uint at = 2 * units + V * lane; at < p.head_dim; at += V * SIMD_WIDTH) {
    const uint left = p.head_dim - at;
    float v[V], w[V];
    load_row<V>(x + at, left, p.vectors != 0, v);
    if (kNorm) {
      if (has_weight) load_row<V>(weight + at, left, p.vectors != 0, w);
      UNROLL for (int j = 0; j < V; j++) {
        v[j] = v[j] * inverse_rms;
        if (has_weight) v[j] = v[j] * (p.weight_offset + w[j]);
      }
    }
    store_row<V>(out + at, left, p.vectors != 0, v);
  }
}

template <bool kNorm, typename T, typename W>
KERNEL(rope, SHADOW(T, x), IN(W, weight), IN(int, positions), IN(float, inv_freq), OUT(T, out),
       PARAMS(GpuRope, p)) {
  await_inputs();
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
    const float inverse_rms = head_inverse_rms<V>(x + row + h * p.head_dim, p.units, LANE, p);
    if (LANE == h) inverse = inverse_rms;
  }
  for (uint begin = 0; begin < p.units; begin += V * SIMD_WIDTH) {
    const uint unit = begin + V * LANE;
    float c[V], s[V];
    rope_angles<V>(inv_freq, float(position), unit, pairs, c, s);
    for (uint h = 0; h < heads; h++) {
      const float inverse_rms = kNorm ? simd_shuffle(inverse, h) : 1.0f;
      const ulong at = row + h * p.head_dim;
      rope_units<V, kNorm>(x + at, weight, p.weight != 0, out + at, unit, pairs, inverse_rms, p, c,
                           s);
    }
  }
  for (uint h = 0; h < heads && 2 * p.units < p.head_dim; h++) {
    const float inverse_rms = kNorm ? simd_shuffle(inverse, h) : 1.0f;
    const ulong at = row + h * p.head_dim;
    rope_tail<V, kNorm>(x + at, weight, p.weight != 0, out + at, p.units, LANE, inverse_rms, p);
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

// Heads of q, of k and of v in this order; those of k and v go to their slot.
//   q, q_out [tokens, heads, head_dim]   k, v [tokens, kv heads, head_dim]   pos [sequences]
//   caches [sequences, kv heads, capacity, head_dim]
template <typename To>
KERNEL(qkv_rope, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       OUT(float, q_out), OUT(To, k_cache), OUT(To, v_cache), PARAMS(GpuQkvRope, p)) {
  await_inputs();
  constexpr int V = 4;
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.rope.simds) return;
  const uint token = index / p.rope.chunks, dim = p.rope.head_dim;
  const uint first = index % p.rope.chunks * p.rope.heads_per_simd;
  const uint heads = min(p.rope.heads_per_simd, p.rope.heads - first);
  const uint first_k = p.num_heads, first_v = first_k + p.num_kv_heads;
  const int position = p.rope.pairs > 0 ? positions[token] : 0;
  // Position 0 rotates by nothing: elements stay exactly as they are.
  const uint pairs = position != 0 ? p.rope.pairs : 0;

  // A place that came from a device buffer has not been checked.
  const uint b = token / p.n;
  const long place = long(pos[b]) + token % p.n;
  const uint slot = p.ring != 0 ? uint(place) % p.capacity : uint(place);
  const bool held = place >= 0 && slot < p.capacity;

  DEVICE const float* const q_row = q + ulong(token) * p.num_heads * dim;
  DEVICE const float* const k_row = k + ulong(token) * p.num_kv_heads * dim;
  DEVICE const float* const v_row = v + ulong(token) * p.num_kv_heads * dim;
  DEVICE float* const q_to = q_out + ulong(token) * p.num_heads * dim;
  const ulong row_of_slot = (ulong(b) * p.num_kv_heads * p.capacity + slot) * dim;
  const ulong next_head = ulong(p.capacity) * dim;
  DEVICE To* const k_to = k_cache + row_of_slot;
  DEVICE To* const v_to = v_cache + row_of_slot;

  float inverse = 1.0f;  // lane h: 1 / rms of head first + h
  for (uint h = 0; h < heads; h++) {
    const uint head = first + h;
    float inverse_rms = 1.0f;
    if (head < first_k) {
      inverse_rms = head_inverse_rms<V>(q_row + head * dim, p.rope.units, LANE, p.rope);
    } else if (head < first_v) {
      inverse_rms = head_inverse_rms<V>(k_row + (head - first_k) * dim, p.rope.units, LANE, p.rope);
    } else if (p.norm_v != 0) {
      inverse_rms = head_inverse_rms<V>(v_row + (head - first_v) * dim, 0, LANE, p.rope);
    }
    if (LANE == h) inverse = inverse_rms;
  }
  // The first heads of these are rotated: all but those of v.
  const uint rotated = first < first_v ? min(heads, first_v - first) : 0;
  for (uint begin = 0; begin < p.rope.units && rotated > 0; begin += V * SIMD_WIDTH) {
    const uint unit = begin + V * LANE;
    float c[V], s[V];
    rope_angles<V>(inv_freq, float(position), unit, pairs, c, s);
    for (uint h = 0; h < rotated; h++) {
      const uint head = first + h;
      const float inverse_rms = simd_shuffle(inverse, h);
      if (head < first_k) {
        rope_units<V, true>(q_row + head * dim, q_weight, p.q_weight != 0, q_to + head * dim, unit,
                            pairs, inverse_rms, p.rope, c, s);
      } else if (held) {
        rope_units<V, true>(k_row + (head - first_k) * dim, k_weight, p.k_weight != 0,
                            k_to + (head - first_k) * next_head, unit, pairs, inverse_rms, p.rope,
                            c, s);
      }
    }
  }
  for (uint h = 0; h < heads; h++) {
    const uint head = first + h;
    const float inverse_rms = simd_shuffle(inverse, h);
    if (head < first_k) {
      rope_tail<V, true>(q_row + head * dim, q_weight, p.q_weight != 0, q_to + head * dim,
                         p.rope.units, LANE, inverse_rms, p.rope);
    } else if (held && head < first_v) {
      rope_tail<V, true>(k_row + (head - first_k) * dim, k_weight, p.k_weight != 0,
                         k_to + (head - first_k) * next_head, p.rope.units, LANE, inverse_rms,
                         p.rope);
    } else if (held) {
      rope_tail<V, true>(v_row + (head - first_v) * dim, k_weight, false,
                         v_to + (head - first_v) * next_head, 0, LANE, inverse_rms, p.rope);
    }
  }
}

INSTANTIATE(qkv_rope_f32, qkv_rope, float)
INSTANTIATE(qkv_rope_f16, qkv_rope, half)
INSTANTIATE(qkv_rope_bf16, qkv_rope, bfloat)

KERNELS_END
