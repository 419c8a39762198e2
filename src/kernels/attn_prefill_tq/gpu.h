// SPDX-License-Identifier: Apache-2.0
// attn_prefill_tq: attn_prefill over codes. A simdgroup takes kRows neighbouring queries of one
// head, rotated as they are loaded, and walks the keys that any of them sees; kLanes lanes share a
// key, and every such set of lanes keeps a running softmax per query. Which set a key falls to
// follows from its position, and a key that a query does not see leaves its sums alone, so that a
// row's bits do not depend on the rows beside it.
//   q, out: rows of dim   k, v [batch, kv heads, capacity, row_bytes] or [pages, kv heads, size,
//   row_bytes], their norms [.., norm_count]   kv_len, q_offset, ring_start, prefix_len [batch]
//   block_table [batch, pages]   sinks, slopes [heads]   lse [batch, heads, q_len]
#include "kernels/attn_prefill/gpu_keys.h"
#include "kernels/attn_prefill_tq/gpu_args.h"
#include "kernels/common/gpu_tq.h"

KERNELS_BEGIN(attn_prefill_tq)

enum { kRows = 4 };  // queries of a simdgroup

template <int kLanes>
KERNEL(attn_prefill_tq, IN(uchar, q), IN(uchar, k), IN(float, k_norms), IN(uchar, v),
       IN(float, v_norms), IN(int, kv_len), IN(int, q_offset), IN(int, ring_start),
       IN(int, prefix_len), IN(int, block_table), IN(float, sinks), IN(float, slopes),
       OUT(uchar, out), OUT(float, lse), PARAMS(GpuAttnPrefillTq, p)) {
  await_inputs();
  constexpr int kSets = 32 / kLanes;  // keys that the simdgroup works on at a time
  CONSTANT GpuAttnPrefill& a = p.attn;
  SHARED(float, k_levels, 256);
  SHARED(float, v_levels, 256);
  stage_levels(p.k, k_levels, THREAD_ID, GROUP_SIZE);
  stage_levels(p.v, v_levels, THREAD_ID, GROUP_SIZE);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= a.simds) return;
  const uint first_row = index % a.tiles * kRows;
  const uint head = index / a.tiles % a.num_heads, b = index / a.tiles / a.num_heads;
  const uint kv_head = head / a.group;
  const HeldKeys held =
      held_keys(kv_len[b], a.ring_start != 0 ? ring_start[b] : 0, a.ring != 0, a.capacity);
  const long offset = a.q_offset != 0 ? long(q_offset[b]) : long(held.end) - long(a.q_len);
  const long prefix = a.prefix_len != 0 ? long(prefix_len[b]) : 0;
  const uint lane = LANE % kLanes, set = LANE / kLanes;
  const bool vectors = a.vectors != 0;
  const float slope = a.slopes != 0 ? slopes[head] : 0.0f;

  float query[kRows][kRowElements];
  RowSums sums[kRows];
  SeenKeys seen[kRows];
  uint begin = held.end, end = held.first;  // keys that any of the rows sees
  UNROLL for (int r = 0; r < kRows; r++) {
    const bool there = first_row + r < a.q_len;
    const ulong row =
        ulong(b) * a.q.batch + ulong(head) * a.q.head + ulong(first_row + r) * a.q.row;
    load_query<kLanes>(q, row, a.query_type, there ? p.k.dim : 0, lane, vectors, query[r]);
    if (p.rotated == 0) rotate_elements<kLanes>(query[r], p.k, lane);
    clear(sums[r]);
    seen[r] = seen_keys(offset + first_row + r, prefix, held, a);
    if (there && seen[r].lo < seen[r].hi) {
      begin = min(begin, seen[r].lo);
      end = max(end, seen[r].hi);
    }
  }
  for (uint base = begin / kSets * kSets; base < end; base += kSets) {
    const uint position = base + set;
    const uint slot = (position + held.shift) % a.capacity;
    const CacheSlot found = find_slot(block_table, a.pages, b, slot,
                                      position >= begin && position < end && slot < held.num_valid);
    const bool there = found.held;
    const ulong row = (ulong(found.block) * (a.num_heads / a.group) + kv_head) *
                          (a.pages.size > 0 ? a.pages.size : a.capacity) +
                      found.slot;
    float key[kRowElements], value[kRowElements];
    load_levels<kLanes>(k + row * p.k.row_bytes, p.k, there ? p.k.dim : 0, lane, k_levels, key);
    load_levels<kLanes>(v + row * p.v.row_bytes, p.v, there ? p.v.dim : 0, lane, v_levels, value);
    const float2 k_factors = norm_factors(k_norms + row * p.k.norm_count, p.k, there);
    const float2 v_factors = norm_factors(v_norms + row * p.v.norm_count, p.v, there);
    UNROLL for (int j = 0; j < kRowElements; j++) {
      key[j] = key[j] * (j < 8 ? k_factors.x : k_factors.y);
      value[j] = value[j] * (j < 8 ? v_factors.x : v_factors.y);
    }
    UNROLL for (int r = 0; r < kRows; r++) {
      float z = key_score<kLanes>(query[r], key, a.softmax_scale, a.logits_soft_cap);
      if (a.slopes != 0) z = z + slope * float(int(position) - int(offset + first_row + r));
      const bool visible =
          there && position >= seen[r].lo && position < seen[r].hi && first_row + r < a.q_len;
      if (visible) fold(sums[r], z, value);
    }
  }

  UNROLL for (int r = 0; r < kRows; r++) {
    join_sets<kLanes>(sums[r]);
    const bool stored = first_row + r < a.q_len;
    float keep = 1.0f;
    if (a.sinks != 0) keep = join_sink(sinks[head], &sums[r].largest, &sums[r].total);
    const float total = sums[r].total;
    UNROLL for (int j = 0; j < kRowElements; j++) {
      sums[r].values[j] = total == 0.0f ? 0.0f : sums[r].values[j] * keep / total;
    }
    if (p.rotated == 0) rotate_elements_back<kLanes>(sums[r].values, p.v, lane);
    const ulong row =
        ulong(b) * a.out.batch + ulong(head) * a.out.head + ulong(first_row + r) * a.out.row;
    UNROLL for (int run = 0; run < 2; run++) {
      store_outputs(out, row, a.query_type, set == 0 && stored ? p.v.dim : 0,
                    8 * (run * kLanes + lane), vectors, total != 0.0f, sums[r].values + 8 * run);
    }
    if (a.lse != 0 && stored && LANE == 0) {
      lse[(ulong(b) * a.num_heads + head) * a.q_len + first_row + r] =
          log_sum_exp(sums[r].largest, total);
    }
  }
}

INSTANTIATE(attn_prefill_tq_128, attn_prefill_tq, 8)
INSTANTIATE(attn_prefill_tq_512, attn_prefill_tq, 32)

KERNELS_END
