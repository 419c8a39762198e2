// SPDX-License-Identifier: Apache-2.0
// attn_prefill, the portable entry: a simdgroup takes kRows neighbouring queries of one head and
// walks the keys that any of them sees. kLanes lanes share a key, and every such set of lanes keeps
// a running softmax per query. Which set a key falls to follows from its position, and a key that a
// query does not see leaves its sums alone, so that a row's bits do not depend on the rows beside
// it.
//   q, out: rows of head_dim, v_dim   k, v: rows of the cache   kv_len, q_offset, ring_start
//   [batch]
#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/common/gpu_attn.h"

KERNELS_BEGIN(attn_prefill)

// Keys [lo, hi) that the query at `position` sees.
struct SeenKeys {
  uint lo, hi;
};

GPU_FN SeenKeys seen_keys(long position, THREAD const HeldKeys& held, CONSTANT GpuAttnPrefill& p) {
  const long first = held.first, end = held.end;
  const long hi = p.causal != 0 ? min(max(position + 1, first), end) : end;
  const long oldest = p.window_size > 0 ? position + 1 - long(p.window_size) : first;
  SeenKeys seen;
  seen.lo = uint(min(max(oldest, first), hi));
  seen.hi = uint(hi);
  return seen;
}

template <int kLanes, typename T>
KERNEL(attn_prefill, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, q_offset),
       IN(int, ring_start), OUT(uchar, out), PARAMS(GpuAttnPrefill, p)) {
  constexpr int kRows = 4;
  constexpr int kSets = 32 / kLanes;  // keys that the simdgroup works on at a time
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds) return;
  const uint first_row = index % p.tiles * kRows, head = index / p.tiles % p.num_heads;
  const uint b = index / p.tiles / p.num_heads;
  const HeldKeys held =
      held_keys(kv_len[b], p.ring_start != 0 ? ring_start[b] : 0, p.ring != 0, p.capacity);
  const long offset = p.q_offset != 0 ? long(q_offset[b]) : long(held.end) - long(p.q_len);
  const uint lane = LANE % kLanes, set = LANE / kLanes;
  const bool vectors = p.vectors != 0;

  float query[kRows][kRowElements];
  RowSums sums[kRows];
  SeenKeys seen[kRows];
  uint begin = held.end, end = held.first;  // keys that any of the rows sees
  UNROLL for (int r = 0; r < kRows; r++) {
    const bool there = first_row + r < p.q_len;
    const ulong row =
        ulong(b) * p.q.batch + ulong(head) * p.q.head + ulong(first_row + r) * p.q.row;
    load_query<kLanes>(q, row, p.query_type, there ? p.head_dim : 0, lane, vectors, query[r]);
    clear(sums[r]);
    seen[r] = seen_keys(offset + first_row + r, held, p);
    if (there && seen[r].lo < seen[r].hi) {
      begin = min(begin, seen[r].lo);
      end = max(end, seen[r].hi);
    }
  }
  const ulong k_head = ulong(b) * p.k.batch + ulong(head / p.group) * p.k.head;
  const ulong v_head = ulong(b) * p.v.batch + ulong(head / p.group) * p.v.head;
  for (uint base = begin / kSets * kSets; base < end; base += kSets) {
    const uint position = base + set;
    const uint slot = (position + held.shift) % p.capacity;
    const bool there = position >= begin && position < end && slot < held.num_valid;
    float key[kRowElements], value[kRowElements];
    load_elements<kLanes>(k + k_head + ulong(slot) * p.k.row, there ? p.head_dim : 0, lane, vectors,
                          key);
    load_elements<kLanes>(v + v_head + ulong(slot) * p.v.row, there ? p.v_dim : 0, lane, vectors,
                          value);
    UNROLL for (int r = 0; r < kRows; r++) {
      const float z = key_score<kLanes>(query[r], key, p.softmax_scale, p.logits_soft_cap);
      if (there && position >= seen[r].lo && position < seen[r].hi) fold(sums[r], z, value);
    }
  }

  UNROLL for (int r = 0; r < kRows; r++) {
    join_sets<kLanes>(sums[r]);
    const ulong row =
        ulong(b) * p.out.batch + ulong(head) * p.out.head + ulong(first_row + r) * p.out.row;
    UNROLL for (int j = 0; j < kRowElements; j++) {
      const uint at = 8 * (j / 8 * kLanes + lane) + j % 8;
      if (set == 0 && first_row + r < p.q_len && at < p.v_dim) {
        store_output(out, row + at, p.query_type,
                     sums[r].total == 0.0f ? 0.0f : sums[r].values[j] / sums[r].total);
      }
    }
  }
}

INSTANTIATE(attn_prefill_128_f32, attn_prefill, 8, float)
INSTANTIATE(attn_prefill_128_f16, attn_prefill, 8, half)
INSTANTIATE(attn_prefill_128_bf16, attn_prefill, 8, bfloat)
INSTANTIATE(attn_prefill_512_f32, attn_prefill, 32, float)
INSTANTIATE(attn_prefill_512_f16, attn_prefill, 32, half)
INSTANTIATE(attn_prefill_512_bf16, attn_prefill, 32, bfloat)

KERNELS_END
