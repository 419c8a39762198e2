// SPDX-License-Identifier: Apache-2.0
// attn_prefill, the portable entry: a simdgroup takes kRows neighbouring queries of one head and
// walks the keys that any of them sees. kLanes lanes share a key, and every such set of lanes keeps
// a running softmax per query. Which set a key falls to follows from its position, and a key that a
// query does not see leaves its sums alone, so that a row's bits do not depend on the rows beside
// it.
//   q, out: rows of head_dim, v_dim   k, v: rows of the cache   kv_len, q_offset, ring_start,
//   prefix_len [batch]   q_starts, k_starts [batch + 1]   block_table [batch, pages]
//   mask [planes, rows, columns]   classes [planes, row tiles, column tiles]   sinks, slopes
//   [heads] lse [batch, heads, q_len]
#include "kernels/attn_prefill/gpu_keys.h"

KERNELS_BEGIN(attn_prefill)

enum { kRows = 4 };  // queries of a simdgroup

template <int kLanes, typename T>
KERNEL(attn_prefill, IN(uchar, q), IN(T, k), IN(T, v), IN(int, kv_len), IN(int, q_offset),
       IN(int, ring_start), IN(int, prefix_len), IN(int, q_starts), IN(int, k_starts),
       IN(int, block_table), IN(uchar, mask), IN(uchar, classes), IN(float, sinks),
       IN(float, slopes), OUT(uchar, out), OUT(float, lse), PARAMS(GpuAttnPrefill, p)) {
  await_inputs();
  constexpr int kSets = 32 / kLanes;  // keys that the simdgroup works on at a time
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.simds) return;
  const uint head = index / p.tiles % p.num_heads;
  const QueryTile tile =
      query_tile<kRows>(index % p.tiles, index / p.tiles / p.num_heads, q_starts, p);
  if (!tile.there) return;
  const uint b = tile.b, first_row = tile.first;
  const TileView view =
      tile_view(tile, head, kv_len, q_offset, ring_start, prefix_len, k_starts, p);
  const HeldKeys held = view.held;
  const uint lane = LANE % kLanes, set = LANE / kLanes;
  const bool vectors = p.vectors != 0;
  const float slope = p.slopes != 0 ? slopes[head] : 0.0f;

  float query[kRows][kRowElements];
  RowSums sums[kRows];
  SeenKeys seen[kRows];
  uint begin = held.end, end = held.first;  // keys that any of the rows sees
  UNROLL for (int r = 0; r < kRows; r++) {
    const bool there = first_row + r < tile.count;
    const ulong row =
        ulong(b) * p.q.batch + ulong(head) * p.q.head + ulong(tile.begin + first_row + r) * p.q.row;
    load_query<kLanes>(q, row, p.query_type, there ? p.head_dim : 0, lane, vectors, query[r]);
    clear(sums[r]);
    seen[r] = seen_keys(view.offset + first_row + r, view.prefix, held, p);
    if (there && seen[r].lo < seen[r].hi) {
      begin = min(begin, seen[r].lo);
      end = max(end, seen[r].hi);
    }
  }
  for (uint base = begin / kSets * kSets; base < end; base += kSets) {
    uint mask_class = 1;
    if (p.mask.classes != 0) {
      mask_class = classes[view.class_row + base / kMaskKeyTile];
      if (mask_class == 0) {  // nothing to see in this tile: on to the next one
        base = base / kMaskKeyTile * kMaskKeyTile + kMaskKeyTile - kSets;
        continue;
      }
    }
    const bool masked = p.mask.type != kGpuMaskNone && mask_class != 2;
    const uint position = base + set;
    const uint slot = (position + held.shift) % view.capacity;
    const CacheSlot found = find_slot(block_table, p.pages, b, slot,
                                      position >= begin && position < end && slot < held.num_valid);
    const bool there = found.held;
    const ulong k_row = ulong(found.block) * p.k.batch + view.k_head + ulong(found.slot) * p.k.row;
    const ulong v_row = ulong(found.block) * p.v.batch + view.v_head + ulong(found.slot) * p.v.row;
    float key[kRowElements], value[kRowElements];
    load_elements<kLanes>(k + k_row, there ? p.head_dim : 0, lane, vectors, key);
    load_elements<kLanes>(v + v_row, there ? p.v_dim : 0, lane, vectors, value);
    UNROLL for (int r = 0; r < kRows; r++) {
      const float z = key_score<kLanes>(query[r], key, p.softmax_scale, p.logits_soft_cap);
      bool visible =
          there && position >= seen[r].lo && position < seen[r].hi && first_row + r < tile.count;
      float bias = 0.0f;
      if (masked && visible) {
        const ulong row = view.plane * p.mask.rows + first_row + r;
        bias = mask_cell(mask, row * p.mask.columns + position, p.mask.type);
        visible = bias != -INFINITY;
      }
      if (p.slopes != 0) {
        bias = bias + slope * float(int(position) - int(view.offset + first_row + r));
      }
      if (visible) fold(sums[r], z + bias, value);
    }
  }

  UNROLL for (int r = 0; r < kRows; r++) {
    join_sets<kLanes>(sums[r]);
    const bool stored = first_row + r < tile.count;
    const ulong query_row = tile.begin + first_row + r;
    const ulong row = ulong(b) * p.out.batch + ulong(head) * p.out.head + query_row * p.out.row;
    float keep = 1.0f;
    if (p.sinks != 0) keep = join_sink(sinks[head], &sums[r].largest, &sums[r].total);
    UNROLL for (int j = 0; j < kRowElements; j++) {
      const uint at = 8 * (j / 8 * kLanes + lane) + j % 8;
      if (set == 0 && stored && at < p.v_dim) {
        store_output(out, row + at, p.query_type,
                     sums[r].total == 0.0f ? 0.0f : sums[r].values[j] * keep / sums[r].total);
      }
    }
    if (p.lse != 0 && stored && LANE == 0) {
      const ulong sequence = p.q_starts != 0 ? 0 : b;
      lse[(sequence * p.num_heads + head) * p.q_len + query_row] =
          log_sum_exp(sums[r].largest, sums[r].total);
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
