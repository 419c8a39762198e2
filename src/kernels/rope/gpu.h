// SPDX-License-Identifier: Apache-2.0
// rope, head_norm_rope and qkv_rope. A simdgroup takes some heads of one token and shares the sines
// and cosines of its position among them.
//   x, out [tokens, heads, head_dim]   weight [head_dim]   positions [tokens]   inv_freq [pairs]
#include "kernels/rope/gpu_heads.h"

SPEC_BOOL(0, rope_halves)      // all is aligned, and pairs are half a head apart
SPEC_BOOL(1, rope_neighbours)  // all is aligned, and pairs are neighbours

KERNELS_BEGIN(rope)

template <bool kNorm, typename T, typename W SPEC_TPARAM>
KERNEL(rope, SHADOW(T, x), IN(W, weight), IN(int, positions), IN(float, inv_freq), OUT(T, out),
       PARAMS(GpuRope, p)) {
  await_inputs();
  constexpr int P = 16 / sizeof(T);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds) return;
  const uint token = index / p.chunks;
  const uint first = index % p.chunks * p.heads_per_simd;
  const ulong row = (ulong(token) * p.heads + first) * p.head_dim;
  const int position = p.pairs > 0 ? positions[token] : 0;
  const HeadWalk w =
      head_walk<P>(SPEC(rope_halves), SPEC(rope_neighbours), p.pairs > 0, p.lanes, p);
  rope_heads<P, kNorm>(x + row, weight, p.weight != 0, kNorm, inv_freq, position, out + row,
                       p.head_dim, min(p.heads_per_simd, p.heads - first), w, LANE, p);
}

INSTANTIATE_SPEC(rope_f32, rope, 2, false, float, float)
INSTANTIATE_SPEC(rope_f16, rope, 2, false, half, float)
INSTANTIATE_SPEC(rope_bf16, rope, 2, false, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f32, rope, 2, true, float, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f16, rope, 2, true, float, half)
INSTANTIATE_SPEC(head_norm_rope_f32_bf16, rope, 2, true, float, bfloat)
INSTANTIATE_SPEC(head_norm_rope_f16_f32, rope, 2, true, half, float)
INSTANTIATE_SPEC(head_norm_rope_f16_f16, rope, 2, true, half, half)
INSTANTIATE_SPEC(head_norm_rope_f16_bf16, rope, 2, true, half, bfloat)
INSTANTIATE_SPEC(head_norm_rope_bf16_f32, rope, 2, true, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_bf16_f16, rope, 2, true, bfloat, half)
INSTANTIATE_SPEC(head_norm_rope_bf16_bf16, rope, 2, true, bfloat, bfloat)

// Heads of q, of k and of v, those of k and v to their slot. A simdgroup takes heads of one of
// them.
//   q, q_out [tokens, heads, head_dim]   k, v [tokens, kv heads, head_dim]   pos [sequences]
//   caches [sequences, kv heads, capacity, head_dim]
template <typename To SPEC_TPARAM>
KERNEL(qkv_rope, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       OUT(float, q_out), OUT(To, k_cache), OUT(To, v_cache), PARAMS(GpuQkvRope, p)) {
  await_inputs();
  constexpr int P = 4;
  const bool halves = SPEC(rope_halves);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.rope.simds) return;
  const uint token = index / p.rope.chunks, chunk = index % p.rope.chunks, dim = p.rope.head_dim;
  const int position = p.rope.pairs > 0 ? positions[token] : 0;
  const uint per_simd = p.rope.heads_per_simd;
  const bool rotates = p.rope.pairs > 0;
  if (chunk < p.q_chunks) {
    const uint first = chunk * per_simd;
    const ulong row = (ulong(token) * p.num_heads + first) * dim;
    const HeadWalk w = head_walk<P>(halves, false, rotates, p.rope.lanes, p.rope);
    rope_heads<P, true>(q + row, q_weight, p.q_weight != 0, true, inv_freq, position, q_out + row,
                        dim, min(per_simd, p.num_heads - first), w, LANE, p.rope);
    return;
  }
  // A place that came from a device buffer has not been checked.
  const uint b = token / p.n;
  const long place = long(pos[b]) + token % p.n;
  const uint slot = p.ring != 0 ? uint(place) % p.capacity : uint(place);
  if (place < 0 || slot >= p.capacity) return;
  const bool is_k = chunk < p.q_chunks + p.kv_chunks;
  const uint first = (chunk - p.q_chunks - (is_k ? 0 : p.kv_chunks)) * per_simd;
  const ulong row = (ulong(token) * p.num_kv_heads + first) * dim;
  const ulong to = ((ulong(b) * p.num_kv_heads + first) * p.capacity + slot) * dim;
  const HeadWalk w =
      head_walk<P>(halves, false, is_k && rotates, is_k ? p.rope.lanes : p.v_lanes, p.rope);
  rope_heads<P, true>((is_k ? k : v) + row, k_weight, is_k && p.k_weight != 0,
                      is_k || p.norm_v != 0, inv_freq, position, (is_k ? k_cache : v_cache) + to,
                      ulong(p.capacity) * dim, min(per_simd, p.num_kv_heads - first), w, LANE,
                      p.rope);
}

INSTANTIATE_SPEC(qkv_rope_f32, qkv_rope, 1, float)
INSTANTIATE_SPEC(qkv_rope_f16, qkv_rope, 1, half)
INSTANTIATE_SPEC(qkv_rope_bf16, qkv_rope, 1, bfloat)

KERNELS_END
