// SPDX-License-Identifier: Apache-2.0
// attn_decode: a threadgroup of four simdgroups takes one part of the keys of one KV head, for up
// to kHeads of its query heads, so that a key is read once for all of them. kLanes lanes share a
// key: a lane holds two runs of eight of its elements. Every such set of lanes keeps a running
// softmax over its own keys; sets, simdgroups and parts are joined at the end, in a fixed order.
//   q, out [batch, heads, dim]   k, v [batch, kv heads, capacity, dim]   kv_len, ring_start [batch]
//   part_values [batch, heads, splits, v_dim]   part_states [batch, heads, splits]: maximum and sum
#include "kernels/attn_decode/gpu_args.h"
#include "kernels/attn_decode/gpu_keys.h"

KERNELS_BEGIN(attn_decode)

enum { kSimds = 4, kElements = 16, kMaxDim = 512 };

// The elements of one row that a lane holds; zero beyond `dim`.
template <int kLanes, typename T>
GPU_FN void load_elements(DEVICE const T* row, uint dim, uint lane, bool vectors, THREAD float* v) {
  UNROLL for (int run = 0; run < 2; run++) {
    const uint at = 8 * (run * kLanes + lane);
    if (at < dim) {
      load_row<8>(row + at, 8, vectors, v + 8 * run);
    } else {
      UNROLL for (int j = 0; j < 8; j++) v[8 * run + j] = 0.0f;
    }
  }
}

template <int kLanes, int kHeads, typename T>
KERNEL(attn_decode, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, ring_start),
       OUT(uchar, out), OUT(float, part_values), OUT(float2, part_states),
       PARAMS(GpuAttnDecode, p)) {
  constexpr float kFloor = -1.7014117e38f;  // finite: exp(floor - floor) is 1, exp(-inf - floor) 0
  constexpr int kSets = 32 / kLanes;        // keys that a simdgroup works on at a time
  SHARED(float, values, kSimds* kMaxDim);
  SHARED(float2, states, kSimds);
  const uint split = GROUP_ID.x % p.splits, tile = GROUP_ID.x / p.splits % p.tiles;
  const uint kv_row = GROUP_ID.x / p.splits / p.tiles;  // sequence and KV head
  const uint b = kv_row / p.num_kv_heads, kv_head = kv_row % p.num_kv_heads;
  const uint group = p.num_heads / p.num_kv_heads;
  const uint first_head = b * p.num_heads + kv_head * group;  // counted over the batch
  const KeyRange keys = visible_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p);
  const uint begin = keys.first + split * keys.keys_each;
  const uint end = min(begin + keys.keys_each, keys.end);
  if (begin >= end && p.splits > 1) return;
  const uint lane = LANE % kLanes, set = SIMD_ID * kSets + LANE / kLanes;
  const bool vectors = p.vectors != 0;

  float query[kHeads][kElements], sums[kHeads][kElements], largest[kHeads], total[kHeads];
  UNROLL for (int h = 0; h < kHeads; h++) {
    const bool there = tile * kHeads + h < group;
    UNROLL for (int run = 0; run < 2; run++) {
      const uint at = 8 * (run * kLanes + lane);
      UNROLL for (int j = 0; j < 8; j++) query[h][8 * run + j] = 0.0f;
      if (there && at < p.head_dim) {
        const ulong head = first_head + tile * kHeads + h;
        load_query8(q, head * p.head_dim + at, p, query[h] + 8 * run);
      }
    }
    UNROLL for (int j = 0; j < kElements; j++) sums[h][j] = 0.0f;
    largest[h] = kFloor;
    total[h] = 0.0f;
  }

  for (uint base = begin; base < end; base += kSimds * kSets) {
    const uint position = base + set;
    const uint slot = (position + keys.shift) % p.capacity;
    const bool there = position < end && slot < keys.num_valid;
    const ulong row = ulong(kv_row) * p.capacity + slot;
    float key[kElements], value[kElements];
    load_elements<kLanes>(k + row * p.head_dim, there ? p.head_dim : 0, lane, vectors, key);
    load_elements<kLanes>(v + row * p.v_dim, there ? p.v_dim : 0, lane, vectors, value);
    UNROLL for (int h = 0; h < kHeads; h++) {
      float dot = 0.0f;
      UNROLL for (int j = 0; j < kElements; j++) dot = fma(query[h][j], key[j], dot);
      UNROLL for (int o = kLanes / 2; o > 0; o /= 2) dot = dot + simd_shuffle_xor(dot, o);
      float z = p.softmax_scale * dot;
      if (p.logits_soft_cap > 0.0f) z = p.logits_soft_cap * tanh(z / p.logits_soft_cap);
      if (!there) z = -INFINITY;
      const float next = max(largest[h], z);
      const float keep = exp(largest[h] - next), weight = exp(z - next);
      largest[h] = next;
      total[h] = fma(total[h], keep, weight);
      UNROLL for (int j = 0; j < kElements; j++) {
        sums[h][j] = fma(weight, value[j], sums[h][j] * keep);
      }
    }
  }

  UNROLL for (int h = 0; h < kHeads; h++) {
    // The sets of the simdgroup.
    float most = largest[h];
    UNROLL for (int o = kLanes; o < 32; o *= 2) most = max(most, simd_shuffle_xor(most, o));
    const float keep = exp(largest[h] - most);
    float sum = total[h] * keep;
    UNROLL for (int o = kLanes; o < 32; o *= 2) sum = sum + simd_shuffle_xor(sum, o);
    UNROLL for (int j = 0; j < kElements; j++) {
      float element = sums[h][j] * keep;
      UNROLL for (int o = kLanes; o < 32; o *= 2) element = element + simd_shuffle_xor(element, o);
      const uint at = 8 * (j / 8 * kLanes + lane) + j % 8;
      if (LANE < uint(kLanes) && at < p.v_dim) values[SIMD_ID * kMaxDim + at] = element;
    }
    if (LANE == 0) states[SIMD_ID] = make_float2(most, sum);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The simdgroups.
    float all = kFloor;
    for (uint s = 0; s < kSimds; s++) all = max(all, states[s].x);
    float factors[kSimds], denominator = 0.0f;
    UNROLL for (int s = 0; s < kSimds; s++) {
      factors[s] = exp(states[s].x - all);
      denominator = fma(states[s].y, factors[s], denominator);
    }
    const uint head = first_head + tile * kHeads + h;
    if (tile * kHeads + h < group) {
      for (uint at = THREAD_ID; at < p.v_dim; at += GROUP_SIZE) {
        float element = 0.0f;
        UNROLL for (int s = 0; s < kSimds; s++) {
          element = fma(values[s * kMaxDim + at], factors[s], element);
        }
        if (p.splits > 1) {
          part_values[(ulong(head) * p.splits + split) * p.v_dim + at] = element;
        } else {
          store_output(out, ulong(head) * p.v_dim + at, p,
                       denominator == 0.0f ? 0.0f : element / denominator);
        }
      }
      if (p.splits > 1 && THREAD_ID == 0) {
        part_states[ulong(head) * p.splits + split] = make_float2(all, denominator);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// One threadgroup per head joins the parts that hold keys.
KERNEL(attn_decode_merge, IN(float, part_values), IN(float2, part_states), IN(int, kv_len),
       IN(int, ring_start), OUT(uchar, out), PARAMS(GpuAttnDecode, p)) {
  constexpr float kFloor = -1.7014117e38f;
  const uint head = GROUP_ID.x, b = head / p.num_heads;
  const KeyRange keys = visible_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p);
  const uint live = min(ceil_div(keys.end - keys.first, keys.keys_each), p.splits);
  const ulong part = ulong(head) * p.splits;
  float most = kFloor;
  for (uint s = 0; s < live; s++) most = max(most, part_states[part + s].x);
  float denominator = 0.0f;
  for (uint s = 0; s < live; s++) {
    const float2 state = part_states[part + s];
    denominator = fma(exp(state.x - most), state.y, denominator);
  }
  for (uint at = THREAD_ID; at < p.v_dim; at += GROUP_SIZE) {
    float element = 0.0f;
    for (uint s = 0; s < live; s++) {
      const float factor = exp(part_states[part + s].x - most);
      element = fma(factor, part_values[(part + s) * p.v_dim + at], element);
    }
    store_output(out, ulong(head) * p.v_dim + at, p,
                 denominator == 0.0f ? 0.0f : element / denominator);
  }
}

EXPORT(attn_decode_merge)
INSTANTIATE(attn_decode_128_1_f32, attn_decode, 8, 1, float)
INSTANTIATE(attn_decode_128_1_f16, attn_decode, 8, 1, half)
INSTANTIATE(attn_decode_128_1_bf16, attn_decode, 8, 1, bfloat)
INSTANTIATE(attn_decode_128_2_f32, attn_decode, 8, 2, float)
INSTANTIATE(attn_decode_128_2_f16, attn_decode, 8, 2, half)
INSTANTIATE(attn_decode_128_2_bf16, attn_decode, 8, 2, bfloat)
INSTANTIATE(attn_decode_128_4_f32, attn_decode, 8, 4, float)
INSTANTIATE(attn_decode_128_4_f16, attn_decode, 8, 4, half)
INSTANTIATE(attn_decode_128_4_bf16, attn_decode, 8, 4, bfloat)
INSTANTIATE(attn_decode_512_1_f32, attn_decode, 32, 1, float)
INSTANTIATE(attn_decode_512_1_f16, attn_decode, 32, 1, half)
INSTANTIATE(attn_decode_512_1_bf16, attn_decode, 32, 1, bfloat)
INSTANTIATE(attn_decode_512_2_f32, attn_decode, 32, 2, float)
INSTANTIATE(attn_decode_512_2_f16, attn_decode, 32, 2, half)
INSTANTIATE(attn_decode_512_2_bf16, attn_decode, 32, 2, bfloat)
INSTANTIATE(attn_decode_512_4_f32, attn_decode, 32, 4, float)
INSTANTIATE(attn_decode_512_4_f16, attn_decode, 32, 4, half)
INSTANTIATE(attn_decode_512_4_bf16, attn_decode, 32, 4, bfloat)

KERNELS_END
