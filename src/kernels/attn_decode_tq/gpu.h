// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq: attn_decode over codes. A threadgroup of four simdgroups takes one part of the
// keys of one KV head for up to kHeads of its query heads, rotated as they are loaded; kLanes lanes
// share a key. The merge joins the parts of a head and rotates back.
//   q, out [batch, heads, dim]   k, v [batch, kv heads, capacity, row_bytes] or [pages, kv heads,
//   size, row_bytes], their norms [.., norm_count]   kv_len, ring_start [batch]   block_table
//   [batch, pages]   sinks, slopes [heads]   lse [batch, heads]
//   part_values [batch, heads, splits, v_dim]   part_states [batch, heads, splits]: maximum and sum
#include "kernels/attn_decode_tq/gpu_args.h"
#include "kernels/common/gpu_tq.h"

KERNELS_BEGIN(attn_decode_tq)

enum { kSimds = 4, kMaxDim = 512, kMergeThreads = 1024 };

// The score of a key from its levels: per run a dot product and what the levels stand for.
template <int kLanes>
GPU_FN float coded_score(THREAD const float* query, THREAD const float* key, float2 factors,
                         float scale, float cap) {
  float first = 0.0f, second = 0.0f;
  UNROLL for (int j = 0; j < 8; j++) {
    first = fma(query[j], key[j], first);
    second = fma(query[j + 8], key[j + 8], second);
  }
  float dot = first * factors.x + second * factors.y;
  UNROLL for (int o = kLanes / 2; o > 0; o /= 2) dot = dot + simd_shuffle_xor(dot, o);
  const float z = scale * dot;
  return cap > 0.0f ? cap * tanh(z / cap) : z;
}

GPU_FN void fold_coded(THREAD RowSums& sums, float z, THREAD const float* value, float2 factors) {
  const float next = max(sums.largest, z);
  const float keep = exp(sums.largest - next), weight = exp(z - next);
  sums.largest = next;
  sums.total = fma(sums.total, keep, weight);
  UNROLL for (int j = 0; j < kRowElements; j++) {
    sums.values[j] = fma(weight * (j < 8 ? factors.x : factors.y), value[j], sums.values[j] * keep);
  }
}

template <int kLanes, int kHeads>
KERNEL(attn_decode_tq, IN(uchar, q), IN(uchar, k), IN(float, k_norms), IN(uchar, v),
       IN(float, v_norms), IN(int, kv_len), IN(int, ring_start), IN(int, block_table),
       IN(float, slopes), OUT(float, part_values), OUT(float2, part_states),
       PARAMS(GpuAttnDecodeTq, p)) {
  await_inputs();
  constexpr int kSets = 32 / kLanes;  // keys that a simdgroup works on at a time
  SHARED(float, values, kSimds* kMaxDim);
  SHARED(float2, states, kSimds);
  SHARED(float, k_levels, 256);
  SHARED(float, v_levels, 256);
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
  if (begin >= end) return;
  stage_levels(p.k, k_levels, THREAD_ID, GROUP_SIZE);
  stage_levels(p.v, v_levels, THREAD_ID, GROUP_SIZE);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint lane = LANE % kLanes, set = SIMD_ID * kSets + LANE / kLanes;

  float query[kHeads][kRowElements], slope[kHeads];
  RowSums sums[kHeads];
  UNROLL for (int h = 0; h < kHeads; h++) {
    const bool there = tile * kHeads + h < group;
    load_query<kLanes>(q, ulong(first_head + h) * p.k.dim, p.query_type, there ? p.k.dim : 0, lane,
                       p.vectors != 0, query[h]);
    slope[h] = there && p.slopes != 0 ? slopes[kv_head * group + tile * kHeads + h] : 0.0f;
    if (p.rotated == 0) rotate_elements<kLanes>(query[h], p.k, lane);
    clear(sums[h]);
  }
  for (uint base = begin; base < end; base += kSimds * kSets) {
    const uint position = base + set;
    const uint slot = (position + held.shift) % p.capacity;
    const CacheSlot found =
        find_slot(block_table, p.pages, b, slot, position < end && slot < held.num_valid);
    const bool there = found.held;
    const float distance = float(int(position - (held.end - 1)));
    const ulong row = (ulong(found.block) * p.num_kv_heads + kv_head) *
                          (p.pages.size > 0 ? p.pages.size : p.capacity) +
                      found.slot;
    float key[kRowElements], value[kRowElements];
    load_levels<kLanes>(k + row * p.k.row_bytes, p.k, there ? p.k.dim : 0, lane, k_levels, key);
    load_levels<kLanes>(v + row * p.v.row_bytes, p.v, there ? p.v.dim : 0, lane, v_levels, value);
    const float2 k_factors = norm_factors(k_norms + row * p.k.norm_count, p.k, there);
    const float2 v_factors = norm_factors(v_norms + row * p.v.norm_count, p.v, there);
    UNROLL for (int h = 0; h < kHeads; h++) {
      float z = coded_score<kLanes>(query[h], key, k_factors, p.softmax_scale, p.logits_soft_cap);
      if (p.slopes != 0) z = z + slope[h] * distance;
      fold_coded(sums[h], there ? z : -INFINITY, value, v_factors);
    }
  }

  UNROLL for (int h = 0; h < kHeads; h++) {
    join_sets<kLanes>(sums[h]);
    UNROLL for (int j = 0; j < kRowElements; j++) {
      const uint at = 8 * (j / 8 * kLanes + lane) + j % 8;
      if (LANE < uint(kLanes) && at < p.v.dim) values[SIMD_ID * kMaxDim + at] = sums[h].values[j];
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
    const ulong part = ulong(first_head + h) * p.splits + split;
    if (tile * kHeads + h < group) {
      for (uint at = THREAD_ID; at < p.v.dim; at += GROUP_SIZE) {
        float element = 0.0f;
        UNROLL for (int s = 0; s < kSimds; s++) {
          element = fma(values[s * kMaxDim + at], factors[s], element);
        }
        part_values[part * p.v.dim + at] = element;
      }
      if (THREAD_ID == 0) part_states[part] = make_float2(most, denominator);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// One threadgroup per head joins the parts that hold keys, as attn_decode_merge does; then its
// first simdgroup rotates the row back.
KERNEL(attn_decode_tq_merge, IN(float, part_values), IN(float2, part_states), IN(int, kv_len),
       IN(int, ring_start), IN(float, sinks), OUT(uchar, out), OUT(float, lse),
       PARAMS(GpuAttnDecodeTq, p)) {
  await_inputs();
  SHARED(float, partial, kMergeThreads);
  const ulong head = GROUP_ID.x;
  const uint b = GROUP_ID.x / p.num_heads;
  const HeldKeys held =
      held_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p.ring != 0, p.capacity);
  const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
  const uint live = part_count(keys, p.splits);
  DEVICE const float* values = part_values + head * p.splits * p.v.dim;
  DEVICE const float2* states = part_states + head * p.splits;
  const float2 state = join_states(states, live, LANE);
  const uint row = (p.v.dim + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
  const uint slices = GROUP_SIZE / row, slice = THREAD_ID / row, at = THREAD_ID % row;
  float element = 0.0f;
  if (at < p.v.dim) {
    element = add_parts(values + at, p.v.dim, states, state.x, slice, slices, live);
  }
  partial[THREAD_ID] = element;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float most = state.x, denominator = state.y, keep = 1.0f;
  if (p.sinks != 0) keep = join_sink(sinks[GROUP_ID.x % p.num_heads], &most, &denominator);
  if (slice == 0) {
    for (uint s = 1; s < slices; s++) element = element + partial[s * row + at];
    partial[at] = denominator == 0.0f ? 0.0f : element * keep / denominator;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (SIMD_ID != 0) return;
  float sums[kRowElements];
  UNROLL for (int i = 0; i < kRowElements; i++) {
    const uint e = 8 * (i / 8 * 32 + LANE) + i % 8;
    sums[i] = e < p.v.dim ? partial[e] : 0.0f;
  }
  if (p.rotated == 0) rotate_elements_back<32>(sums, p.v, LANE);
  UNROLL for (int run = 0; run < 2; run++) {
    store_outputs(out, head * p.v.dim, p.query_type, p.v.dim, 8 * (run * 32 + LANE), p.vectors != 0,
                  denominator != 0.0f, sums + 8 * run);
  }
  if (p.lse != 0 && LANE == 0) lse[head] = log_sum_exp(most, denominator);
}

EXPORT(attn_decode_tq_merge)
INSTANTIATE(attn_decode_tq_128_1, attn_decode_tq, 8, 1)
INSTANTIATE(attn_decode_tq_128_2, attn_decode_tq, 8, 2)
INSTANTIATE(attn_decode_tq_128_4, attn_decode_tq, 8, 4)
INSTANTIATE(attn_decode_tq_512_1, attn_decode_tq, 32, 1)
INSTANTIATE(attn_decode_tq_512_2, attn_decode_tq, 32, 2)
INSTANTIATE(attn_decode_tq_512_4, attn_decode_tq, 32, 4)

KERNELS_END
