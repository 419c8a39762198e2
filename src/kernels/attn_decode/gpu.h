// SPDX-License-Identifier: Apache-2.0
// attn_decode: a threadgroup of four simdgroups takes one part of the keys of one KV head, for up
// to kHeads of its query heads, so that a key is read once for all of them. kLanes lanes share a
// key: a lane holds two runs of eight of its elements. Every such set of lanes keeps a running
// softmax over its own keys; sets, simdgroups and parts are joined at the end, in a fixed order.
//   q, out [batch, heads, dim]   k, v [batch, kv heads, capacity, dim] or [pages, kv heads, size,
//   dim]   kv_len, ring_start [batch]   block_table [batch, pages]   sinks, slopes [heads]
//   lse [batch, heads]   part_values [batch, heads, splits, v_dim]   part_states [batch, heads,
//   splits]: maximum and sum
#include "kernels/attn_decode/gpu_args.h"
#include "kernels/common/gpu_attn.h"

KERNELS_BEGIN(attn_decode)

enum { kSimds = 4, kMaxDim = 512, kMergeThreads = 1024 };

template <int kLanes, int kHeads, typename T>
KERNEL(attn_decode, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, ring_start),
       IN(int, block_table), IN(float, sinks), IN(float, slopes), OUT(uchar, out), OUT(float, lse),
       OUT(float, part_values), OUT(float2, part_states), PARAMS(GpuAttnDecode, p)) {
  await_inputs();
  constexpr int kSets = 32 / kLanes;            // keys that a simdgroup works on at a time,
  constexpr int kAtOnce = kHeads == 4 ? 2 : 4;  // as often as registers allow
  SHARED(float, values, kSimds* kMaxDim);
  SHARED(float2, states, kSimds);
  const uint split = GROUP_ID.x % p.splits, tile = GROUP_ID.x / p.splits % p.tiles;
  const uint kv_row = GROUP_ID.x / p.splits / p.tiles;  // sequence and KV head
  const uint b = kv_row / p.num_kv_heads, kv_head = kv_row % p.num_kv_heads;
  const uint group = p.num_heads / p.num_kv_heads;
  const uint first_head = b * p.num_heads + kv_head * group + tile * kHeads;  // over the batch
  const HeldKeys held =
      held_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p.ring != 0, p.capacity);
  const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
  const uint begin = keys.first + split * keys.keys_each;
  const uint end = min(begin + keys.keys_each, keys.end);
  if (begin >= end && p.splits > 1) return;
  const uint lane = LANE % kLanes, set = SIMD_ID * kSets + LANE / kLanes;
  const bool vectors = p.vectors != 0;

  float query[kHeads][kRowElements], slope[kHeads];
  RowSums sums[kHeads];
  UNROLL for (int h = 0; h < kHeads; h++) {
    const bool there = tile * kHeads + h < group;
    load_query<kLanes>(q, ulong(first_head + h) * p.head_dim, p.query_type, there ? p.head_dim : 0,
                       lane, vectors, query[h]);
    slope[h] = there && p.slopes != 0 ? slopes[kv_head * group + tile * kHeads + h] : 0.0f;
    clear(sums[h]);
  }
  for (uint base = begin; base < end; base += kSimds * kSets * kAtOnce) {
    // All rows are asked for before the first is used.
    float key[kAtOnce][kRowElements], value[kAtOnce][kRowElements];
    bool there[kAtOnce];
    UNROLL for (int u = 0; u < kAtOnce; u++) {
      const uint position = base + u * kSimds * kSets + set;
      const uint slot = (position + held.shift) % p.capacity;
      const CacheSlot found =
          find_slot(block_table, p.pages, b, slot, position < end && slot < held.num_valid);
      there[u] = found.held;
      const ulong row = (ulong(found.block) * p.num_kv_heads + kv_head) *
                            (p.pages.size > 0 ? p.pages.size : p.capacity) +
                        found.slot;
      load_elements<kLanes>(k + row * p.head_dim, there[u] ? p.head_dim : 0, lane, vectors, key[u]);
      load_elements<kLanes>(v + row * p.v_dim, there[u] ? p.v_dim : 0, lane, vectors, value[u]);
    }
    UNROLL for (int u = 0; u < kAtOnce; u++) {
      const uint position = base + u * kSimds * kSets + set;
      const float distance = float(int(position - (held.end - 1)));
      UNROLL for (int h = 0; h < kHeads; h++) {
        float z = key_score<kLanes>(query[h], key[u], p.softmax_scale, p.logits_soft_cap);
        if (p.slopes != 0) z = z + slope[h] * distance;
        fold(sums[h], there[u] ? z : -INFINITY, value[u]);
      }
    }
  }

  UNROLL for (int h = 0; h < kHeads; h++) {
    join_sets<kLanes>(sums[h]);
    UNROLL for (int j = 0; j < kRowElements; j++) {
      const uint at = 8 * (j / 8 * kLanes + lane) + j % 8;
      if (LANE < uint(kLanes) && at < p.v_dim) values[SIMD_ID * kMaxDim + at] = sums[h].values[j];
    }
    if (LANE == 0) states[SIMD_ID] = make_float2(sums[h].largest, sums[h].total);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // Joins the simdgroups.
    float most = ATTN_FLOOR;
    for (uint s = 0; s < kSimds; s++) most = max(most, states[s].x);
    float factors[kSimds], denominator = 0.0f;
    UNROLL for (int s = 0; s < kSimds; s++) {
      factors[s] = exp(states[s].x - most);
      denominator = fma(states[s].y, factors[s], denominator);
    }
    const ulong head = first_head + h;
    if (tile * kHeads + h < group) {
      float keep = 1.0f;
      if (p.splits == 1 && p.sinks != 0) {
        keep = join_sink(sinks[kv_head * group + tile * kHeads + h], &most, &denominator);
      }
      for (uint at = THREAD_ID; at < p.v_dim; at += GROUP_SIZE) {
        float element = 0.0f;
        UNROLL for (int s = 0; s < kSimds; s++) {
          element = fma(values[s * kMaxDim + at], factors[s], element);
        }
        if (p.splits > 1) {
          part_values[(head * p.splits + split) * p.v_dim + at] = element;
        } else {
          store_output(out, head * p.v_dim + at, p.query_type,
                       denominator == 0.0f ? 0.0f : element * keep / denominator);
        }
      }
      if (p.splits == 1 && p.lse != 0 && THREAD_ID == 0) lse[head] = log_sum_exp(most, denominator);
      if (p.splits > 1 && THREAD_ID == 0) {
        part_states[head * p.splits + split] = make_float2(most, denominator);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// One threadgroup per head joins the parts that hold keys. A thread has one element of the row in
// every slices-th part, there being a slice for each row of threads.
KERNEL(attn_decode_merge, IN(float, part_values), IN(float2, part_states), IN(int, kv_len),
       IN(int, ring_start), IN(float, sinks), OUT(uchar, out), OUT(float, lse),
       PARAMS(GpuAttnDecode, p)) {
  await_inputs();
  SHARED(float, partial, kMergeThreads);
  const ulong head = GROUP_ID.x;
  const uint b = GROUP_ID.x / p.num_heads;
  const HeldKeys held =
      held_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p.ring != 0, p.capacity);
  const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
  const uint live = part_count(keys, p.splits);
  DEVICE const float* values = part_values + head * p.splits * p.v_dim;
  DEVICE const float2* states = part_states + head * p.splits;
  const float2 state = join_states(states, live, LANE);
  const uint row = (p.v_dim + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
  const uint slices = GROUP_SIZE / row, slice = THREAD_ID / row, at = THREAD_ID % row;
  float element = 0.0f;
  if (at < p.v_dim) {
    element = add_parts(values + at, p.v_dim, states, state.x, slice, slices, live);
  }
  partial[THREAD_ID] = element;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float most = state.x, denominator = state.y, keep = 1.0f;
  if (p.sinks != 0) keep = join_sink(sinks[GROUP_ID.x % p.num_heads], &most, &denominator);
  if (slice == 0 && at < p.v_dim) {
    for (uint s = 1; s < slices; s++) element = element + partial[s * row + at];
    store_output(out, head * p.v_dim + at, p.query_type,
                 denominator == 0.0f ? 0.0f : element * keep / denominator);
  }
  if (p.lse != 0 && THREAD_ID == 0) lse[head] = log_sum_exp(most, denominator);
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
