// SPDX-License-Identifier: Apache-2.0
// attn_prefill over f16 or bf16 keys and values on matrix units. A threadgroup takes kRows queries
// of a head through tiles of kKeys keys that start at multiples of kKeys; a simdgroup has kWarpRows
// of the rows and all, or its share, of the elements of their output.
//   scores[query][key] = Q K^T      out[query][element] += weights V
// Queries and weights enter as kTerms 16-bit terms: one if queries have the type of the cache, and
// else as many as hold an f32. A tile in which a row sees nothing leaves its sums as they are, so
// that its bits depend on no other row.
// Method: Dao, FlashAttention-2 (arXiv 2307.08691). Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_prefill/cuda_rows.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

// Bit i: key first + i is there, i < 64.
template <class Places>
GPU_FN ulong find_keys(const Places& places, uint first) {
  uint there[2];
  UNROLL for (int i = 0; i < 2; i++) {
    uint block, slot;
    there[i] = __ballot_sync(~0u, places.find(first, 32 * i + LANE, &block, &slot));
  }
  return ulong(there[1]) << 32 | there[0];
}

// The rows of a threadgroup. The last ones come first, as they see most keys.
template <class S, bool kPlain>
GPU_FN QueryTile find_rows(const int* q_starts, const GpuAttnPrefill& p) {
  const uint at = gridDim.x - 1 - blockIdx.x;
  if (kPlain) return {blockIdx.z, at * S::kRows, 0, p.q_len, true};
  return query_tile<S::kRows>(at, blockIdx.z, q_starts, p);
}

// a(), and beside it b(), with which the other half of the simdgroups begins.
template <class S, class A, class B>
GPU_FN void by_turns(uint warp, const A& a, const B& b) {
#pragma unroll 1
  for (uint i = 0; i < 2; i++) {
    if ((i == 0) == (warp < S::kWarps / 2)) {
      a();
    } else {
      b();
    }
  }
}

// A threadgroup's rows. Source: what k and v are, floats or codes.
template <typename T, class S, bool kPlain, class Source>
GPU_FN void attend_rows(const uchar* q, const uchar* k, const uchar* v, const int* kv_len,
                        const int* q_offset, const int* ring_start, const int* prefix_len,
                        const int* q_starts, const int* k_starts, const int* block_table,
                        const uchar* mask, const uchar* classes, const float* sinks,
                        const float* slopes, uchar* out, float* lse, const GpuAttnPrefill& p,
                        const Source& source) {
  constexpr bool kCoded = S::kNorms > 0;
  extern __shared__ uint4 shared[];
  __shared__ float undo[S::kTerms > 1 ? S::kRows : 1];
  __shared__ SeenKeys seen[S::kRows];
  uchar* const memory = reinterpret_cast<uchar*>(shared);
  const uint queries = shared_address(memory), tiles = queries + S::kQueryBytes;
  const uint warp = __shfl_sync(~0u, threadIdx.x / 32, 0), share = warp % S::kShares;
  const uint warp_row = warp / S::kShares * S::kWarpRows;
  const QueryTile tile = find_rows<S, kPlain>(q_starts, p);
  if (!kPlain && !tile.there) return;
  const uint b = tile.b, head = blockIdx.y, row = tile.first + warp_row;
  uint k_begin = 0;
  KeyPlaces<kPlain> places = {};
  places.capacity = p.capacity;
  if (!kPlain && p.k_starts != 0) {
    const PackedRows keys = packed_rows(k_starts, b, p.capacity);
    k_begin = keys.begin;
    places.capacity = max(keys.count, 1u);
    places.held = held_keys(int(keys.count), 0, false, places.capacity);
  } else {
    const int start = !kPlain && p.ring_start != 0 ? ring_start[b] : 0;
    places.held = held_keys(kv_len[b], start, p.ring != 0, p.capacity);
  }
  const HeldKeys held = places.held;
  if constexpr (!kPlain) {
    places.pages = p.pages;
    places.table = block_table + ulong(b) * p.pages.per_sequence;
  }
  const long offset = p.q_offset != 0 ? long(q_offset[b]) : long(held.end) - long(tile.count);
  const long prefix = p.prefix_len != 0 ? long(prefix_len[b]) : 0;
  const uint rows_there = min(tile.count - tile.first, uint(S::kRows));

  // Both ends of what rows see grow from row to row.
  const uint end = seen_keys(offset + tile.first + rows_there - 1, prefix, held, p).hi;
  uint first = min(seen_keys(offset + tile.first, prefix, held, p).lo, end) / S::kKeys * S::kKeys;
  const ulong sequence = !kPlain && p.pages.size > 0 ? 0 : b;
  const uchar* const k_rows =
      k + 2 * (sequence * p.k.batch + ulong(head / p.group) * p.k.head + ulong(k_begin) * p.k.row);
  const uchar* const v_rows =
      v + 2 * (sequence * p.v.batch + ulong(head / p.group) * p.v.head + ulong(k_begin) * p.v.row);
  const auto copy_k = [&](uint key, uint to) {
    if constexpr (!kCoded) {
      if (key < end) copy_tile<S>(to, k_rows, p.k.row, p.k.batch, key, places);
    }
  };
  const auto copy_v = [&](uint key, uint to) {
    if constexpr (!kCoded) {
      if (key < end) copy_tile<S>(to + S::kTileBytes, v_rows, p.v.row, p.v.batch, key, places);
    }
  };
  const ulong first_row =
      ulong(b) * p.q.batch + ulong(head) * p.q.head + ulong(tile.begin + tile.first) * p.q.row;
  if constexpr (S::kTerms == 1) copy_queries<S>(queries, q, first_row, p.q.row, rows_there);
  copy_k(first, tiles);
  if (S::kShares == 1) copy_v(first, tiles);
  close_copies();
  if (threadIdx.x < S::kRows) {
    const SeenKeys none = {0, 0};
    const long position = offset + tile.first + threadIdx.x;
    seen[threadIdx.x] = threadIdx.x < rows_there ? seen_keys(position, prefix, held, p) : none;
  }
  if constexpr (S::kTerms > 1) {
    put_queries<T, S>(q, first_row + ulong(warp_row) * p.q.row, p.q.row,
                      row < tile.count ? tile.count - row : 0, p, warp_row, share, memory, undo,
                      source);
  }
  __syncthreads();
  uint lo = ~0u, hi = 0, most_lo = 0, least_hi = ~0u;  // of this simdgroup's rows
  if (row < tile.count) {
    const uint last = min(warp_row + S::kWarpRows, rows_there) - 1;
    lo = seen[warp_row].lo;
    hi = seen[last].hi;
    most_lo = seen[last].lo;
    least_hi = seen[warp_row].hi;
  }

  constexpr int kCount = 2 * S::kRowTiles;
  TileRules<kCount> rules = {};
  const ulong plane = ulong(b) * p.mask.batch + ulong(head) * p.mask.head;
  if constexpr (!kPlain) {
    rules.cap = p.logits_soft_cap * kLog2E;
    rules.slope = p.slopes != 0 ? slopes[head] * kLog2E : 0.0f;
    rules.shaped = p.logits_soft_cap > 0.0f || p.slopes != 0 || !(p.softmax_scale >= kLeastScale);
    rules.mask_type = p.mask.type;
    UNROLL for (int m = 0; m < kCount; m++) {
      const uint at = row + LANE / 4 + 8 * m;
      rules.position[m] = uint(offset + at);
      rules.cells[m] = (plane * p.mask.rows + at) * p.mask.columns;
    }
  }
  typedef Rows<T, S, kPlain> MyRows;
  typename MyRows::Places own = {queries + warp_row * S::kPitch, undo + warp_row, seen + warp_row};
  if constexpr (S::kShares > 1) {
    __shared__ float board[S::kWarps * S::kWarpRows];
    own.group = warp / S::kShares;
    own.share = share;
    own.board = board + own.group * S::kShares * S::kWarpRows;
    own.weights =
        memory + S::kQueryBytes + S::kStages * S::kStageBytes + warp_row * S::kWeightPitch;
  }
  MyRows rows(own, p);
  if constexpr (kCoded) {
    // While one half of the simdgroups multiplies, the other decodes what comes next.
    const uint v_tile = tiles + S::kTileBytes;
    const ulong head_row = sequence * p.k.batch + ulong(head / p.group) * p.k.head;
    const auto arrive = [] {
      close_copies();
      wait_copies<0>();
      __syncthreads();
    };
    source.copy_k(head_row, first, end, places);
    source.copy_v(head_row, first, end, places);
    arrive();
    source.decode_k(tiles, 0);
    for (uint stage = 0; first < end; first += S::kKeys) {
      arrive();  // K and the codes of V
      rules.k_norms = source.norms(stage);
      rules.v_norms = rules.k_norms + (S::kNorms + share) * S::kKeys;
      stage ^= 1;
      source.copy_k(head_row, first + S::kKeys, end, places);
      if constexpr (!kPlain) rules.there = find_keys(places, first);
      const bool sees = first < hi && first + S::kKeys > lo;
      const auto score = [&] {
        if (!sees) return;
        rows.score_all(tiles, rules);
        rows.settle(first, first >= most_lo && first + S::kKeys <= least_hi, rules);
      };
      by_turns<S>(warp, score, [&] { source.decode_v(v_tile); });
      arrive();  // V and the codes of the next K
      source.copy_v(head_row, first + S::kKeys, end, places);
      const auto add = [&] {
        if (sees) rows.add(v_tile, rules);
      };
      by_turns<S>(warp, add, [&] {
        if (first + S::kKeys < end) source.decode_k(tiles, stage);
      });
    }
  }
  // Where not every row sees every key of a tile, elements of V that are not finite reach their
  // rows beside the matrix units, to which 0 times NaN is NaN.
  const auto clear = [&](uint v_tile) {
    const bool by_all = first >= seen[rows_there - 1].lo && first + S::kKeys <= seen[0].hi &&
                        (kPlain || p.mask.type == kGpuMaskNone);
    return !by_all && clear_nonfinite<T, S>(v_tile);
  };
  uint stage = 0;
  for (; !kCoded && first < end; first += S::kKeys) {
    wait_copies<0>();
    __syncthreads();  // the tile, or K of it, is there, and nobody reads the one before
    const uint at = tiles + stage * S::kStageBytes;
    if constexpr (S::kShares == 1) {
      stage ^= 1;
      copy_k(first + S::kKeys, tiles + stage * S::kStageBytes);
      copy_v(first + S::kKeys, tiles + stage * S::kStageBytes);
    } else {
      copy_v(first, at);
    }
    close_copies();
    uint mask_class = 1;
    if constexpr (!kPlain) {
      if (p.mask.classes != 0 && row < tile.count) {
        mask_class = classes[(plane * p.mask.tile_rows + row / kMaskRowTile) * p.mask.tile_columns +
                             first / kMaskKeyTile];
      }
      rules.mask = p.mask.type != kGpuMaskNone && mask_class == 1 ? mask : nullptr;
      rules.there = find_keys(places, first);
    }
    bool nonfinite = false;
    if constexpr (S::kShares == 1) nonfinite = clear(at + S::kTileBytes);
    const bool sees = first < hi && first + S::kKeys > lo && mask_class != 0;
    if (sees) {
      rows.score_all(at, rules);
      rows.settle(first, first >= most_lo && first + S::kKeys <= least_hi && rules.mask == nullptr,
                  rules);
    }
    if constexpr (S::kShares > 1) {
      wait_copies<0>();
      __syncthreads();  // V is there, and nobody reads K
      copy_k(first + S::kKeys, at);
      close_copies();
      nonfinite = clear(at + S::kTileBytes);
    }
    if (sees) rows.add(at + S::kTileBytes, rules);
    if (sees && nonfinite) rows.add_nonfinite(v_rows, p.v.row, p.v.batch, first, places, rules);
    rows.even_out();
  }
  wait_copies<0>();  // if no key is seen, those of the queries
  rows.finish();
  if constexpr (kCoded) __syncthreads();  // queries become outputs

  constexpr float kLn2 = 0.693147180559945f;
  UNROLL for (int m = 0; m < kCount; m++) {
    const uint at = row + LANE / 4 + 8 * m;
    if (at >= tile.count) continue;
    float most = rows.reference(m) * kLn2, total = rows.total(m), keep = 1.0f;
    if (p.sinks != 0) keep = join_sink(sinks[head], &most, &total);
    const float scale = total == 0.0f ? 0.0f : kPerRoom * keep / total;
    const ulong out_row = ulong(b) * p.out.batch + ulong(head) * p.out.head +
                          ulong(tile.begin + at) * p.out.row + share * S::kShareDim + LANE % 4 * 2;
    UNROLL for (int i = 0; i < MyRows::kOutTiles; i++) {
      const float2 o = rows.output(i, m);
      const float x = total == 0.0f ? 0.0f : o.x * scale, y = total == 0.0f ? 0.0f : o.y * scale;
      if constexpr (kCoded) {
        float* const to = source.row(memory, at - tile.first) + share * S::kShareDim;
        to[LANE % 4 * 2 + 8 * i] = x;
        to[LANE % 4 * 2 + 8 * i + 1] = y;
      } else if constexpr (S::kTerms == 1) {
        reinterpret_cast<uint*>(out)[out_row / 2 + 4 * i] = pack2(x, y, T());
      } else {
        store_output(out, out_row + 8 * i, p.query_type, x);
        store_output(out, out_row + 8 * i + 1, p.query_type, y);
      }
    }
    if (p.lse != 0 && share == 0 && LANE % 4 == 0) {
      const ulong sequences = p.q_starts != 0 ? 0 : b;
      lse[(sequences * p.num_heads + head) * p.q_len + tile.begin + at] = log_sum_exp(most, total);
    }
  }
  if constexpr (kCoded) {
    __syncthreads();
    source.store_rows(
        memory, out,
        ulong(b) * p.out.batch + ulong(head) * p.out.head + ulong(tile.first) * p.out.row,
        rows_there);
  }
}

// Grid: tiles of queries; heads; sequences. kPlain: the launch has no cap, slopes, mask, pages,
// packed rows or ring starts, its cache holds at least a tile, and its scale is not tiny.
template <typename T, class S, bool kPlain>
__global__ __launch_bounds__(S::kThreads, kPlain ? S::kGroups : 1) void attn_prefill_mma(
    const uchar* q, const uchar* k, const uchar* v, const int* kv_len, const int* q_offset,
    const int* ring_start, const int* prefix_len, const int* q_starts, const int* k_starts,
    const int* block_table, const uchar* mask, const uchar* classes, const float* sinks,
    const float* slopes, uchar* out, float* lse, const GpuAttnPrefill p) {
  await_inputs();
  attend_rows<T, S, kPlain>(q, k, v, kv_len, q_offset, ring_start, prefix_len, q_starts, k_starts,
                            block_table, mask, classes, sinks, slopes, out, lse, p, FloatRows());
}

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
