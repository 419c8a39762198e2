// SPDX-License-Identifier: Apache-2.0
// Which keys a query sees, and how the rows of packed sequences and the cells of masks lie.
#pragma once
#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/common/gpu_attn.h"

GPU_LIBRARY_BEGIN

enum { kMaskRowTile = 32, kMaskKeyTile = 64 };  // cells of a class

// Rows [begin, begin + count) of a packed sequence, clamped to the rows there are.
struct PackedRows {
  uint begin, count;
};

GPU_FN PackedRows packed_rows(DEVICE const int* starts, uint b, uint rows) {
  const uint begin = uint(min(max(starts[b], 0), int(rows)));
  const uint end = uint(min(max(starts[b + 1], int(begin)), int(rows)));
  PackedRows packed;
  packed.begin = begin;
  packed.count = end - begin;
  return packed;
}

// Queries first, first + 1, ... of sequence b, whose rows are [begin, begin + count) of q.
struct QueryTile {
  uint b, first, begin, count;
  bool there;
};

// Tile `at` of kRows queries: of sequence b, or of all packed sequences.
template <int kRows>
GPU_FN QueryTile query_tile(uint at, uint b, DEVICE const int* q_starts,
                            CONSTANT GpuAttnPrefill& p) {
  QueryTile tile;
  tile.b = b;
  tile.first = at * kRows;
  tile.begin = 0;
  tile.count = p.q_len;
  tile.there = true;
  if (p.q_starts == 0) return tile;
  tile.there = false;
  for (uint i = 0; i < p.batch && !tile.there; i++) {
    const PackedRows rows = packed_rows(q_starts, i, p.q_len);
    const uint tiles = ceil_div(rows.count, uint(kRows));
    if (at < tiles) {
      tile.b = i;
      tile.first = at * kRows;
      tile.begin = rows.begin;
      tile.count = rows.count;
      tile.there = true;
    } else {
      at -= tiles;
    }
  }
  return tile;
}

// Keys [lo, hi) that the query at `position` sees, mask aside.
struct SeenKeys {
  uint lo, hi;
};

GPU_FN SeenKeys seen_keys(long position, long prefix, THREAD const HeldKeys& held,
                          CONSTANT GpuAttnPrefill& p) {
  long lo = held.first, hi = held.end;
  if (p.causal != 0) hi = min(hi, max(position + 1, prefix));
  if (p.window_size > 0) lo = max(lo, position + 1 - long(p.window_size));
  if (p.window_ahead > 0) hi = min(hi, position + long(p.window_ahead));
  if (p.chunk_size > 0) {
    // The chunk of a position before 0 holds no keys.
    const long chunk = position < 0 ? 0 : position / long(p.chunk_size) * long(p.chunk_size);
    lo = max(lo, chunk);
    hi = min(hi, position < 0 ? long(0) : chunk + long(p.chunk_size));
  }
  if (p.mask.type != kGpuMaskNone) hi = min(hi, long(p.mask.columns));
  SeenKeys seen;
  seen.hi = uint(max(hi, long(held.first)));
  seen.lo = uint(min(max(lo, long(held.first)), long(seen.hi)));
  return seen;
}

// What the rows of a tile share.
struct TileView {
  HeldKeys held;
  uint capacity;
  long offset, prefix;   // positions: of query 0; those below `prefix` are not blocked by `causal`
  ulong k_head, v_head;  // elements in front of slot 0
  ulong plane, class_row;  // of the mask: planes in front of its cells, classes of key 0
};

GPU_FN TileView tile_view(THREAD const QueryTile& tile, uint head, DEVICE const int* kv_len,
                          DEVICE const int* q_offset, DEVICE const int* ring_start,
                          DEVICE const int* prefix_len, DEVICE const int* k_starts,
                          CONSTANT GpuAttnPrefill& p) {
  TileView view;
  const uint b = tile.b;
  ulong k_begin = 0;
  view.capacity = p.capacity;
  if (p.k_starts != 0) {
    const PackedRows rows = packed_rows(k_starts, b, p.capacity);
    k_begin = rows.begin;
    view.capacity = max(rows.count, 1u);
    view.held = held_keys(int(rows.count), 0, false, view.capacity);
  } else {
    const int start = p.ring_start != 0 ? ring_start[b] : 0;
    view.held = held_keys(kv_len[b], start, p.ring != 0, p.capacity);
  }
  view.offset = p.q_offset != 0 ? long(q_offset[b]) : long(view.held.end) - long(tile.count);
  view.prefix = p.prefix_len != 0 ? long(prefix_len[b]) : 0;
  view.k_head = ulong(head / p.group) * p.k.head + k_begin * p.k.row;
  view.v_head = ulong(head / p.group) * p.v.head + k_begin * p.v.row;
  view.plane = ulong(b) * p.mask.batch + ulong(head) * p.mask.head;
  view.class_row =
      (view.plane * p.mask.tile_rows + tile.first / kMaskRowTile) * p.mask.tile_columns;
  return view;
}

// A cell of the mask as what is added to a score; -infinity at or below the sentinel.
GPU_FN float mask_cell(DEVICE const uchar* mask, ulong at, uint type) {
  if (type == kGpuMaskU8) return mask[at] != 0 ? 0.0f : -INFINITY;
  float cell;
  if (type == kGpuMaskF32) {
    cell = ((DEVICE const float*)mask)[at];
  } else if (type == kGpuMaskF16) {
    cell = float(((DEVICE const half*)mask)[at]);
  } else {
    cell = float(((DEVICE const bfloat*)mask)[at]);
  }
  return cell <= (type == kGpuMaskF16 ? -65504.0f : -1e30f) ? -INFINITY : cell;
}

GPU_LIBRARY_END
