// SPDX-License-Identifier: Apache-2.0
// rope, head_norm_rope and qkv_rope. A simdgroup takes some heads of one token and shares the sines
// and cosines of its position among them.
//   x, out [tokens, heads, head_dim]   weight [head_dim]   positions [tokens]   inv_freq [pairs]
#include "kernels/common/gpu_tq_encode.h"
#include "kernels/rope/gpu_heads.h"

SPEC_BOOL(0, rope_halves)  // all is aligned, and pairs are half a head apart

KERNELS_BEGIN(rope)

template <bool kNorm, typename T, typename W SPEC_TPARAM>
KERNEL(rope, SHADOW(T, x), IN(W, weight), IN(int, positions), IN(float, inv_freq), OUT(T, out),
       PARAMS(GpuRope, p)) {
  await_inputs();
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds) return;
  const uint token = index / p.chunks;
  const uint first = index % p.chunks * p.heads_per_simd;
  const ulong row = (ulong(token) * p.heads + first) * p.head_dim;
  const int position = p.pairs > 0 ? positions[token] : 0;
  // Position 0 rotates by nothing: elements stay exactly as they are.
  const HeadWalk w = head_walk(SPEC(rope_halves), p.head_dim, p.units, p.half_dim, p.lanes);
  rope_heads<sizeof(T) == 4 ? 1
             : kNorm        ? 4
                            : 2,
             kNorm, T>(x + row, weight, p.weight != 0, kNorm, inv_freq, float(position),
                       position != 0 ? p.pairs : 0, out + row, p.head_dim,
                       min(p.heads_per_simd, p.heads - first), w, LANE, p);
}

INSTANTIATE_SPEC(rope_f32, rope, 1, false, float, float)
INSTANTIATE_SPEC(rope_f16, rope, 1, false, half, float)
INSTANTIATE_SPEC(rope_bf16, rope, 1, false, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f32, rope, 1, true, float, float)
INSTANTIATE_SPEC(head_norm_rope_f32_f16, rope, 1, true, float, half)
INSTANTIATE_SPEC(head_norm_rope_f32_bf16, rope, 1, true, float, bfloat)
INSTANTIATE_SPEC(head_norm_rope_f16_f32, rope, 1, true, half, float)
INSTANTIATE_SPEC(head_norm_rope_f16_f16, rope, 1, true, half, half)
INSTANTIATE_SPEC(head_norm_rope_f16_bf16, rope, 1, true, half, bfloat)
INSTANTIATE_SPEC(head_norm_rope_bf16_f32, rope, 1, true, bfloat, float)
INSTANTIATE_SPEC(head_norm_rope_bf16_f16, rope, 1, true, bfloat, half)
INSTANTIATE_SPEC(head_norm_rope_bf16_bf16, rope, 1, true, bfloat, bfloat)

// Chunk `chunk` of q's heads, normed and rotated. Position 0 rotates by nothing: elements stay
// exactly as they are.
GPU_FN void rope_queries(DEVICE const float* q, DEVICE const float* weight,
                         DEVICE const float* inv_freq, int position, bool halves, uint token,
                         uint chunk, DEVICE float* out, uint lane, CONSTANT GpuQkvRope& p) {
  const uint dim = p.rope.head_dim, first = chunk * p.rope.heads_per_simd;
  const ulong row = (ulong(token) * p.num_heads + first) * dim;
  const HeadWalk w = head_walk(halves, dim, p.rope.units, p.rope.half_dim, p.rope.lanes);
  rope_heads<1, true, float>(q + row, weight, p.q_weight != 0, true, inv_freq, float(position),
                             position != 0 ? p.rope.pairs : 0, out + row, dim,
                             min(p.rope.heads_per_simd, p.num_heads - first), w, lane, p.rope);
}

// Where a token of k and v goes. A place that came from a device buffer has not been checked.
GPU_FN CacheSlot token_slot(DEVICE const int* pos, uint token, CONSTANT GpuQkvRope& p) {
  CacheSlot found;
  found.block = token / p.n;
  const long place = long(pos[found.block]) + token % p.n;
  found.slot = p.ring != 0 ? uint(place) % p.capacity : uint(place);
  found.held = place >= 0 && found.slot < p.capacity;
  return found;
}

// Heads of k or of v, one after the other from head `first` on.
struct KvHeads {
  bool is_k;
  uint first, count;
};

GPU_FN KvHeads kv_heads(uint chunk, CONSTANT GpuQkvRope& p) {
  KvHeads heads;
  heads.is_k = chunk < p.q_chunks + p.kv_chunks;
  heads.first = (chunk - p.q_chunks - (heads.is_k ? 0 : p.kv_chunks)) * p.rope.heads_per_simd;
  heads.count = min(p.rope.heads_per_simd, p.num_kv_heads - heads.first);
  return heads;
}
GPU_FN HeadWalk kv_walk(THREAD const KvHeads& heads, bool halves, CONSTANT GpuQkvRope& p) {
  return head_walk(halves, p.rope.head_dim, heads.is_k ? p.rope.units : 0, p.rope.half_dim,
                   heads.is_k ? p.rope.lanes : p.v_lanes);
}

// `count` rows of those heads at x, normed and, of k, rotated.
template <typename To, typename Out>
GPU_FN void rope_kv(DEVICE const float* x, THREAD const KvHeads& heads, uint count,
                    DEVICE const float* weight, DEVICE const float* inv_freq, int position, Out out,
                    ulong out_stride, THREAD const HeadWalk& w, uint lane, CONSTANT GpuQkvRope& p) {
  rope_heads<1, true, To>(x, weight, heads.is_k && p.k_weight != 0, heads.is_k || p.norm_v != 0,
                          inv_freq, float(position), heads.is_k && position != 0 ? p.rope.pairs : 0,
                          out, out_stride, count, w, lane, p.rope);
}

// Heads of q, of k and of v, those of k and v to their slot. A simdgroup takes heads of one of
// them.
//   q, q_out [tokens, heads, head_dim]   k, v [tokens, kv heads, head_dim]   pos [sequences]
//   caches [sequences, kv heads, capacity, head_dim]
template <typename To SPEC_TPARAM>
KERNEL(qkv_rope, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       OUT(float, q_out), OUT(To, k_cache), OUT(To, v_cache), PARAMS(GpuQkvRope, p)) {
  await_inputs();
  const bool halves = SPEC(rope_halves);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.rope.simds) return;
  const uint token = index / p.rope.chunks, chunk = index % p.rope.chunks, dim = p.rope.head_dim;
  const int position = p.rope.pairs > 0 ? positions[token] : 0;
  if (chunk < p.q_chunks) {
    return rope_queries(q, q_weight, inv_freq, position, halves, token, chunk, q_out, LANE, p);
  }
  const CacheSlot found = token_slot(pos, token, p);
  if (!found.held) return;
  const KvHeads heads = kv_heads(chunk, p);
  const ulong row = (ulong(token) * p.num_kv_heads + heads.first) * dim;
  const ulong to =
      ((ulong(found.block) * p.num_kv_heads + heads.first) * p.capacity + found.slot) * dim;
  const HeadWalk w = kv_walk(heads, halves, p);
  rope_kv<To>((heads.is_k ? k : v) + row, heads, heads.count, k_weight, inv_freq, position,
              (heads.is_k ? k_cache : v_cache) + to, ulong(p.capacity) * dim, w, LANE, p);
}

INSTANTIATE_SPEC(qkv_rope_f32, qkv_rope, 1, float)
INSTANTIATE_SPEC(qkv_rope_f16, qkv_rope, 1, half)
INSTANTIATE_SPEC(qkv_rope_bf16, qkv_rope, 1, bfloat)

enum { kSimds = 4, kMaxDim = 512, kMaxLevels = 256 };

// The same to coded caches. Rows of k and v are in threadgroup memory until they are coded.
//   block_table [sequences, pages]   codes, norms: turboquant/gpu.h
template <typename To SPEC_TPARAM>
KERNEL(qkv_encode, SHADOW(float, q), IN(float, k), IN(float, v), IN(float, q_weight),
       IN(float, k_weight), IN(int, positions), IN(float, inv_freq), IN(int, pos),
       IN(int, block_table), OUT(float, q_out), OUT(To, k_codes), OUT(float, k_norms),
       OUT(To, v_codes), OUT(float, v_norms), PARAMS(GpuQkvEncode, p)) {
  await_inputs();
  SHARED(float, all_rows, kSimds* kMaxDim);
  SHARED(float, all_bounds, kSimds* kMaxLevels);
  const bool halves = SPEC(rope_halves);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.all.rope.simds) return;
  const uint token = index / p.all.rope.chunks, chunk = index % p.all.rope.chunks;
  const int position = p.all.rope.pairs > 0 ? positions[token] : 0;
  if (chunk < p.all.q_chunks) {
    return rope_queries(q, q_weight, inv_freq, position, halves, token, chunk, q_out, LANE, p.all);
  }
  CacheSlot found = token_slot(pos, token, p.all);
  found = find_slot(block_table, p.pages, found.block, found.slot, found.held);
  if (!found.held) return;
  const KvHeads heads = kv_heads(chunk, p.all);
  CONSTANT GpuTqCoder& coder = p.coders[heads.is_k ? 0 : 1];
  THREADGROUP float* const rows = all_rows + SIMD_ID * kMaxDim;
  THREADGROUP float* const bounds = all_bounds + SIMD_ID * kMaxLevels;
  stage_bounds(coder, bounds, LANE, SIMD_WIDTH);
  const uint slots = p.pages.size > 0 ? p.pages.size : p.all.capacity, dim = coder.dim;
  const HeadWalk w = kv_walk(heads, halves, p.all);
  const uint at_once = SIMD_WIDTH / w.lanes;
  for (uint h = 0; h < heads.count; h += at_once) {
    const uint count = min(at_once, heads.count - h), first = heads.first + h;
    rope_kv<float>((heads.is_k ? k : v) + (ulong(token) * p.all.num_kv_heads + first) * dim, heads,
                   count, k_weight, inv_freq, position, rows, dim, w, LANE, p.all);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < count; i++) {
      float x[kRowElements];
      UNROLL for (int j = 0; j < kRowElements; j++) {
        const uint at = 8 * (j / 8 * 32 + LANE) + j % 8;
        x[j] = at < dim ? rows[i * dim + at] : 0.0f;
      }
      const ulong to = (ulong(found.block) * p.all.num_kv_heads + first + i) * slots + found.slot;
      encode_elements(x, coder, bounds, bounds, false,
                      (heads.is_k ? k_codes : v_codes) + to * coder.row_bytes,
                      (heads.is_k ? k_norms : v_norms) + to * coder.norm_count, LANE);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

INSTANTIATE_SPEC(qkv_encode, qkv_encode, 1, uchar)

KERNELS_END
