// SPDX-License-Identifier: Apache-2.0
// rope, head_norm_rope and qkv_rope. A simdgroup takes some heads of one token and shares the sines
// and cosines of its position among them.
//   x, out [tokens, heads, head_dim]   weight [head_dim]   positions [tokens]   inv_freq [pairs]
#include "kernels/common/gpu_tq.h"
#include "kernels/rope/gpu_heads.h"

SPEC_BOOL(0, rope_halves)      // all is aligned, and pairs are half a head apart
SPEC_BOOL(1, rope_neighbours)  // all is aligned, and pairs are neighbours
SPEC_BOOL(2, rope_wide)        // of 16-bit heads: a lane has 8 pairs, not 4

KERNELS_BEGIN(rope)

// Some heads of a token, the index-th part of all.
template <int P, int K, bool kNorm, typename T, typename W>
GPU_FN void rope_part_of(DEVICE const T* x, DEVICE const W* weight, DEVICE const int* positions,
                         DEVICE const float* inv_freq, DEVICE T* out, uint index, bool halves,
                         bool neighbours, uint lane, CONSTANT GpuRope& p) {
  const uint token = index / p.chunks;
  const uint first = index % p.chunks * p.heads_per_simd;
  const ulong row = (ulong(token) * p.heads + first) * p.head_dim;
  const int position = p.pairs > 0 ? positions[token] : 0;
  const HeadWalk w = head_walk<P>(halves, neighbours, p.pairs > 0, p.lanes, p);
  rope_heads<P, K, kNorm, T>(x + row, weight, p.weight != 0, kNorm, inv_freq, position, out + row,
                             p.head_dim, min(p.heads_per_simd, p.heads - first), w, lane, p);
}

// 16-bit heads go in twos: 4 pairs of two heads are the bytes of 8 pairs of one, with half the
// factors, so that 64 registers do and a core of an H100 or H200 holds 32 simdgroups.
template <bool kNorm, typename T, typename W SPEC_TPARAM>
KERNEL(rope, SHADOW(T, x), IN(W, weight), IN(int, positions), IN(float, inv_freq), OUT(T, out),
       PARAMS(GpuRope, p)) {
  await_inputs();
  const bool halves = SPEC(rope_halves), neighbours = SPEC(rope_neighbours);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds || (halves && neighbours)) return;  // both are no walk, and need no code
  if (sizeof(T) == 2 && SPEC(rope_wide)) {
    rope_part_of<8, 1, kNorm>(x, weight, positions, inv_freq, out, index, halves, neighbours, LANE,
                              p);
  } else if (sizeof(T) == 2 && (halves || neighbours)) {
    rope_part_of<4, 2, kNorm>(x, weight, positions, inv_freq, out, index, halves, neighbours, LANE,
                              p);
  } else {
    rope_part_of<4, 1, kNorm>(x, weight, positions, inv_freq, out, index, halves, neighbours, LANE,
                              p);
  }
}

INSTANTIATE_SPEC(rope_f32, rope, 2, false, float, float)
INSTANTIATE_SPEC(rope_f16, rope, 3, false, half, float)
INSTANTIATE_SPEC(rope_bf16, rope, 3, false, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f32, rope, 2, true, float, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f16, rope, 2, true, float, half)
INSTANTIATE_SPEC(head_norm_rope_f32_bf16, rope, 2, true, float, bfloat)
INSTANTIATE_SPEC(head_norm_rope_f16_f32, rope, 3, true, half, float)
INSTANTIATE_SPEC(head_norm_rope_f16_f16, rope, 3, true, half, half)
INSTANTIATE_SPEC(head_norm_rope_f16_bf16, rope, 3, true, half, bfloat)
INSTANTIATE_SPEC(head_norm_rope_bf16_f32, rope, 3, true, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_bf16_f16, rope, 3, true, bfloat, half)
INSTANTIATE_SPEC(head_norm_rope_bf16_bf16, rope, 3, true, bfloat, bfloat)

// Heads of one token that a simdgroup takes, of q (part 0), k (1) or v (2).
struct QkvHeads {
  uint token, part, count;
  ulong row;   // element where they start
  ulong to;    // row of the cache for the first head; every next one lies `slots` further
  uint slots;  // of a sequence or a page
  bool held;   // that row is there; so is q's
};

GPU_FN QkvHeads qkv_heads(uint index, DEVICE const int* pos, DEVICE const int* block_table,
                          CONSTANT GpuQkvRope& p) {
  QkvHeads h;
  const uint chunk = index % p.rope.chunks, k_end = p.q_chunks + p.kv_chunks;
  h.token = index / p.rope.chunks;
  h.part = chunk < p.q_chunks ? 0 : chunk < k_end ? 1 : 2;
  const uint heads = h.part == 0 ? p.num_heads : p.num_kv_heads;
  const uint first = (chunk - (h.part == 0   ? 0
                               : h.part == 1 ? p.q_chunks
                                             : k_end)) *
                     p.rope.heads_per_simd;
  h.count = min(p.rope.heads_per_simd, heads - first);
  h.row = (ulong(h.token) * heads + first) * p.rope.head_dim;
  h.held = true;
  h.to = h.slots = 0;
  if (h.part == 0) return h;
  const uint b = h.token / p.n;
  const CacheSlot found =
      find_place(block_table, p.pages, b, long(pos[b]) + h.token % p.n, p.ring != 0, p.capacity);
  h.held = found.held;
  h.slots = p.pages.size > 0 ? p.pages.size : p.capacity;
  h.to = (ulong(found.block) * heads + first) * h.slots + found.slot;
  return h;
}

// `count` of the heads, those at x, normed and, but for v, rotated. Position 0 rotates by nothing:
// elements stay exactly as they are.
template <typename To, typename Out>
GPU_FN void rope_part(DEVICE const float* x, THREAD const QkvHeads& h, uint count,
                      DEVICE const float* weight, DEVICE const int* positions,
                      DEVICE const float* inv_freq, Out out, ulong out_stride, bool halves,
                      uint lane, CONSTANT GpuQkvRope& p) {
  const bool is_v = h.part == 2, has_weight = (h.part == 0 ? p.q_weight : p.k_weight) != 0;
  const int position = is_v || p.rope.pairs == 0 ? 0 : positions[h.token];
  const HeadWalk w = head_walk<4>(halves, false, !is_v && p.rope.pairs > 0,
                                  is_v ? p.v_lanes : p.rope.lanes, p.rope);
  rope_heads<4, 1, true, To>(x, weight, has_weight && !is_v, !is_v || p.norm_v != 0, inv_freq,
                             position, out, out_stride, count, w, lane, p.rope);
}

// Heads of q, of k and of v, those of k and v to their slot.
//   q, q_out [tokens, heads, head_dim]   k, v [tokens, kv heads, head_dim]   pos [sequences]
//   block_table [sequences, pages]   caches [sequences or pages, kv heads, slots, head_dim]
template <typename To SPEC_TPARAM>
KERNEL(qkv_rope, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       IN(int, block_table), OUT(float, q_out), OUT(To, k_cache), OUT(To, v_cache),
       PARAMS(GpuQkvRope, p)) {
  await_inputs();
  const bool halves = SPEC(rope_halves);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID, dim = p.rope.head_dim;
  if (index >= p.rope.simds) return;
  const QkvHeads h = qkv_heads(index, pos, block_table, p);
  if (!h.held) return;
  if (h.part == 0) {
    return rope_part<float>(q + h.row, h, h.count, q_weight, positions, inv_freq, q_out + h.row,
                            dim, halves, LANE, p);
  }
  rope_part<To>((h.part == 1 ? k : v) + h.row, h, h.count, k_weight, positions, inv_freq,
                (h.part == 1 ? k_cache : v_cache) + h.to * dim, ulong(h.slots) * dim, halves, LANE,
                p);
}

INSTANTIATE_SPEC(qkv_rope_f32, qkv_rope, 1, float)
INSTANTIATE_SPEC(qkv_rope_f16, qkv_rope, 1, half)
INSTANTIATE_SPEC(qkv_rope_bf16, qkv_rope, 1, bfloat)

// The same to coded caches; rows pass through threadgroup memory.
//   codes, norms: turboquant/gpu.h
template <typename Code SPEC_TPARAM>
KERNEL(qkv_encode, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       IN(int, block_table), OUT(float, q_out), OUT(Code, k_codes), OUT(float, k_norms),
       OUT(Code, v_codes), OUT(float, v_norms), PARAMS(GpuQkvEncode, p)) {
  await_inputs();
  SHARED(float, all_rows, 4 * 512);  // of kSimdsPerGroup simdgroups (gpu_launch.cc)
  SHARED(float, all_bounds, 4 * 256);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID, dim = p.qkv.rope.head_dim;
  if (index >= p.qkv.rope.simds) return;
  const QkvHeads h = qkv_heads(index, pos, block_table, p.qkv);
  if (!h.held) return;
  const bool is_q = h.part == 0, is_k = h.part == 1;
  CONSTANT GpuTqCoder& coder = p.coders[is_k ? 0 : 1];
  THREADGROUP float* const rows = all_rows + SIMD_ID * 512;
  THREADGROUP float* const bounds = all_bounds + SIMD_ID * 256;
  for (uint i = LANE; !is_q && i < 1u << coder.bits; i += SIMD_WIDTH) bounds[i] = coder.bounds[i];
  // Heads that the lanes have side by side.
  const uint step = SIMD_WIDTH / (h.part == 2 ? p.qkv.v_lanes : p.qkv.rope.lanes);
  for (uint i = 0; i < h.count; i++) {
    const ulong at = h.row + i * dim, to = h.to + ulong(i) * h.slots;
    THREADGROUP const float* const row = rows + i % step * dim;
    if (i % step == 0) {
      simdgroup_barrier(mem_flags::mem_threadgroup);
      rope_part<float>((is_q   ? q
                        : is_k ? k
                               : v) +
                           at,
                       h, min(step, h.count - i), is_q ? q_weight : k_weight, positions, inv_freq,
                       rows, dim, SPEC(rope_halves), LANE, p.qkv);
      simdgroup_barrier(mem_flags::mem_threadgroup);
    }
    for (uint j = LANE; is_q && j < dim; j += SIMD_WIDTH) q_out[at + j] = row[j];
    if (is_q) continue;
    float x[kRowElements];
    UNROLL for (int j = 0; j < kRowElements; j++) {
      const uint e = 8 * (j / 8 * 32 + LANE) + j % 8;
      x[j] = e < dim ? row[e] : 0.0f;
    }
    encode_elements(x, coder, bounds, bounds, false,
                    (is_k ? k_codes : v_codes) + to * coder.row_bytes,
                    (is_k ? k_norms : v_norms) + to * coder.norm_count, LANE);
  }
}

INSTANTIATE_SPEC(qkv_encode, qkv_encode, 1, uchar)

KERNELS_END
