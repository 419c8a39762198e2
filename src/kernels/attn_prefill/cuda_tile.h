// SPDX-License-Identifier: Apache-2.0
// attn_prefill over f16 or bf16 keys and values on matrix units. A threadgroup takes kRows queries
// of a head through tiles of kKeys keys that start at multiples of kKeys; a simdgroup has kWarpRows
// of the rows and all, or its share, of the elements of their output.
//   scores[query][key] = Q K^T      out[query][element] += weights V
// Queries and weights enter as kTerms 16-bit terms: one if queries have the type of the cache, and
// else as many as hold an f32. Weights stand relative to the largest logit so far; a tile in which
// a row sees nothing leaves its sums as they are, so that its bits depend on no other row.
// Method: Dao, FlashAttention-2 (arXiv 2307.08691). Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_prefill/gpu_keys.h"
#include "kernels/common/cuda_mma.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

GPU_FN void multiply(half, float* c, const uint* a, uint b0, uint b1) {
  mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}
GPU_FN void multiply(bfloat, float* c, const uint* a, uint b0, uint b1) {
  mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
}

// kShares simdgroups have the same rows and a share of the elements of V each.
template <int kHeadDim, int kTermCount, int kWarpCount, int kRowTileCount, int kShareCount,
          int kKeyCount>
struct Shape {
  static constexpr int kDim = kHeadDim, kTerms = kTermCount, kWarps = kWarpCount;
  static constexpr int kShares = kShareCount, kKeys = kKeyCount;
  static constexpr int kRowTiles = kRowTileCount, kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps / kShares * kWarpRows, kThreads = 32 * kWarps;
  static constexpr int kShareDim = kDim / kShares;  // of the output of a simdgroup
  static constexpr int kPitch = 2 * kDim + 16;      // of rows: eight of them in different banks
  static constexpr int kPieces = kDim / 8;          // of 16 bytes, of a row
  static constexpr int kTileBytes = kKeys * kPitch;
  static constexpr int kQueryBytes = kTerms * kRows * kPitch;
  static constexpr int kMemory = kQueryBytes + 4 * kTileBytes;  // K and V of two tiles
};

// The queries of a simdgroup as terms in threadgroup memory, [term][row]. An f32 row is scaled by a
// power of two to at most 2^14, so that its last term is a normal f16; undo[row] takes it back.
template <typename T, class S>
GPU_FN void put_queries(const uchar* q, ulong first_row, uint row_stride, uint rows,
                        const GpuAttnPrefill& p, uint warp_row, uchar* terms, float* undo) {
  constexpr uint kTop = 127 + 13;
#pragma unroll 1
  for (uint r = 0; r < S::kWarpRows; r++) {
    float x[kRowElements];
    load_query<32>(q, first_row + ulong(r) * row_stride, p.query_type, r < rows ? S::kDim : 0, LANE,
                   true, x);
    float scale = 1.0f, back = 1.0f;
    if constexpr (S::kTerms > 1) {
      float largest = 0.0f;
      UNROLL for (int i = 0; i < kRowElements; i++) largest = fmaxf(largest, fabsf(x[i]));
      const uint exponent = max(__reduce_max_sync(~0u, __float_as_uint(largest)) >> 23, kTop - 126);
      scale = __uint_as_float((kTop + 127 - exponent) << 23);
      back = __uint_as_float((exponent + 127 - kTop) << 23);
    }
    if (LANE == 0) undo[warp_row + r] = back;
    UNROLL for (int run = 0; run < 2; run++) {
      const uint at = 8 * (run * 32 + LANE);
      if (at >= S::kDim) continue;
      float rest[8];
      UNROLL for (int i = 0; i < 8; i++) rest[i] = x[8 * run + i] * scale;
      UNROLL for (int term = 0; term < S::kTerms; term++) {
        uint pair[4];
        UNROLL for (int i = 0; i < 4; i++) {
          pair[i] = pack2(rest[2 * i], rest[2 * i + 1], T());
          const float2 taken = unpack2(pair[i], T());
          rest[2 * i] -= taken.x;
          rest[2 * i + 1] -= taken.y;
        }
        *reinterpret_cast<uint4*>(terms + (term * S::kRows + warp_row + r) * S::kPitch + 2 * at) =
            make_uint4(pair[0], pair[1], pair[2], pair[3]);
      }
    }
  }
}

// Where the keys of a sequence lie. kPlain: in one piece of at least a tile, each in its slot.
template <bool kPlain>
struct KeyPlaces {
  HeldKeys held;
  uint capacity;
  const int* table;  // of the sequence, or null
  GpuPages pages;
  uint k_page, v_page;  // elements from one page to the next

  // The page and the slot of a position; false if it is not there.
  GPU_FN bool find(uint position, uint first, uint first_slot, uint* block, uint* slot) const {
    uint at = first_slot + (position - first);
    if constexpr (kPlain) {
      if (at >= capacity) at -= capacity;
    } else {
      at %= capacity;
    }
    *block = 0;
    *slot = at;
    bool there = position >= held.first && position < held.end;
    if constexpr (!kPlain) {
      there = there && at < held.num_valid;
      if (pages.size > 0 && there) {
        *block = uint(table[at >> pages.shift]);
        *slot = at & (pages.size - 1);
        there = *block < pages.count;
      }
    }
    return there;
  }
};

// Starts the copies of a tile's rows of K and V; keys that are not there are zeros.
template <class S, bool kPlain>
GPU_FN void copy_tile(uint to, const uchar* k, const uchar* v, const GpuAttnPrefill& p, uint first,
                      const KeyPlaces<kPlain>& places) {
  const uint first_slot = (first + places.held.shift) % places.capacity;
  // Most tiles are rows in order.
  if (kPlain && S::kThreads % S::kPieces == 0 && first >= places.held.first &&
      first + S::kKeys <= places.held.end && first_slot + S::kKeys <= places.capacity) {
    constexpr uint kStep = S::kThreads / S::kPieces;
    const uint key = threadIdx.x / S::kPieces, piece = threadIdx.x % S::kPieces;
    const uint place = to + key * S::kPitch + 16 * piece;
    const uchar* const k_row = k + 2 * ulong(first_slot + key) * p.k.row + 16 * piece;
    const uchar* const v_row = v + 2 * ulong(first_slot + key) * p.v.row + 16 * piece;
    UNROLL for (uint i = 0; i < S::kKeys / kStep; i++) {
      copy_ahead(place + i * kStep * S::kPitch, k_row + ulong(i) * (2 * kStep * p.k.row));
      copy_ahead(place + S::kTileBytes + i * kStep * S::kPitch,
                 v_row + ulong(i) * (2 * kStep * p.v.row));
    }
    return;
  }
#pragma unroll 2
  for (uint i = threadIdx.x; i < S::kKeys * S::kPieces; i += S::kThreads) {
    const uint key = i / S::kPieces, piece = i % S::kPieces;
    uint block, slot;
    const bool there = places.find(first + key, first, first_slot, &block, &slot);
    ulong k_row = ulong(there ? slot : 0) * p.k.row, v_row = ulong(there ? slot : 0) * p.v.row;
    if constexpr (!kPlain) {
      k_row += ulong(there ? block : 0) * places.k_page;
      v_row += ulong(there ? block : 0) * places.v_page;
    }
    const uint place = to + key * S::kPitch + 16 * piece;
    copy_ahead(place, k + 2 * k_row + 16 * piece, there);
    copy_ahead(place + S::kTileBytes, v + 2 * v_row + 16 * piece, there);
  }
}

constexpr float kLog2E = 1.44269504088896f;

// What else becomes of the logits of a tile, for kCount rows g + 8 m.
template <int kCount>
struct TileRules {
  float cap;    // 0: none; times log2(e), as logits are
  float slope;  // likewise
  uint position[kCount];
  const uchar* mask;  // null: none, or the whole tile is free
  uint mask_type;
  ulong cells[kCount];  // of key 0
  uint there[2];        // bit i: key i of the tile

  // `at`: key of the tile.
  GPU_FN float apply(float logit, uint first, uint at, int m) const {
    if (cap > 0.0f) logit = cap * tanhf(logit / cap);
    if (slope != 0.0f) logit += slope * float(int(first + at) - int(position[m]));
    if ((there[at / 32] >> (at % 32) & 1) == 0) return -INFINITY;
    return logit;
  }
  // Only of keys that are seen: cells beyond the mask may not be read.
  GPU_FN float cell(uint key, int m) const {
    return mask_cell(mask, cells[m] + key, mask_type) * kLog2E;
  }
};

// A row's running softmax, to base 2.
struct RowState {
  float largest, total;
};

// Weights of a tile: kRoom above the largest logit, so that small ones are normal f16.
constexpr float kRoom = 14.0f;

template <typename T, class S, bool kPlain>
class Rows {
 public:
  static constexpr int kKeyTiles = S::kKeys / 8, kOutTiles = S::kShareDim / 8;
  static constexpr int kCount = 2 * S::kRowTiles;  // rows of a lane: g + 8 m
  typedef TileRules<kCount> Rules;

  // queries, undo: of the simdgroup's rows.
  GPU_FN Rows(uint queries, const float* undo, const GpuAttnPrefill& p) : queries_(queries) {
    UNROLL for (int m = 0; m < kCount; m++) {
      state_[m].largest = -1e30f;
      state_[m].total = 0.0f;
      scale_[m] = undo[LANE / 4 + 8 * m] * p.softmax_scale * kLog2E;
    }
    UNROLL for (int i = 0; i < kOutTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) out_[i][j] = 0.0f;
    }
  }
  GPU_FN const RowState& state(int m) const { return state_[m]; }
  // Elements 8 tile + 2t and the next one of the share, of row g + 8 m.
  GPU_FN float2 output(int tile, int m) const {
    return make_float2(out_[tile][2 * m], out_[tile][2 * m + 1]);
  }

  // Keys first .. first + kKeys, of which rows g and g + 8 see [lo, hi). Plain rows need no rules.
  GPU_FN void take(uint k, uint v, uint first, const SeenKeys (&seen)[kCount], bool all_seen,
                   const Rules& rules) {
    float z[kKeyTiles][2 * kCount];
    score(k, z);
    logits(z, first, seen, all_seen, rules);
    weigh(z);
    add(v, z);
  }
  GPU_FN void finish() {
    UNROLL for (int m = 0; m < kCount; m++) {
      UNROLL for (int o = 1; o < 4; o *= 2) {
        state_[m].total += __shfl_xor_sync(~0u, state_[m].total, o);
      }
    }
  }

 private:
  GPU_FN void score(uint k, float (&z)[kKeyTiles][2 * kCount]) const {
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) z[i][j] = 0.0f;
    }
    const uint q_at = queries_ + LANE % 16 * S::kPitch + LANE / 16 * 16;
    const uint k_at = k + (LANE % 8 + LANE / 16 * 8) * S::kPitch + LANE / 8 % 2 * 16;
    constexpr int kSteps = S::kDim / 16;
#pragma unroll(kSteps <= 16 ? kSteps : 8)
    for (int step = 0; step < kSteps; step++) {
      uint a[S::kRowTiles][S::kTerms][4];
      UNROLL for (int r = 0; r < S::kRowTiles; r++) {
        UNROLL for (int term = 0; term < S::kTerms; term++) {
          load_matrices(q_at + (term * S::kRows + 16 * r) * S::kPitch + 32 * step, a[r][term]);
        }
      }
      UNROLL for (int i = 0; i < kKeyTiles; i += 2) {
        uint b[4];
        load_matrices(k_at + 8 * i * S::kPitch + 32 * step, b);
        UNROLL for (int term = S::kTerms - 1; term >= 0; term--) {
          UNROLL for (int r = 0; r < S::kRowTiles; r++) {
            multiply(T(), z[i] + 4 * r, a[r][term], b[0], b[1]);
            multiply(T(), z[i + 1] + 4 * r, a[r][term], b[2], b[3]);
          }
        }
      }
    }
  }
  GPU_FN void logits(float (&z)[kKeyTiles][2 * kCount], uint first, const SeenKeys (&seen)[kCount],
                     bool all_seen, const Rules& rules) const {
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) {
        z[i][j] *= scale_[j / 2];
        if constexpr (!kPlain) {
          z[i][j] = rules.apply(z[i][j], first, 8 * i + LANE % 4 * 2 + j % 2, j / 2);
        }
      }
    }
    if (all_seen) return;
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) {
        const uint key = first + 8 * i + LANE % 4 * 2 + j % 2;
        if (key < seen[j / 2].lo || key >= seen[j / 2].hi) {
          z[i][j] = -INFINITY;
        } else if constexpr (!kPlain) {
          if (rules.mask != nullptr) z[i][j] += rules.cell(key, j / 2);
        }
      }
    }
  }
  // Logits become weights.
  GPU_FN void weigh(float (&z)[kKeyTiles][2 * kCount]) {
    UNROLL for (int m = 0; m < kCount; m++) {
      float largest = state_[m].largest;
      UNROLL for (int i = 0; i < kKeyTiles; i++) {
        largest = fmaxf(largest, fmaxf(z[i][2 * m], z[i][2 * m + 1]));
      }
      UNROLL for (int o = 1; o < 4; o *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, o));
      }
      if (__any_sync(~0u, largest > state_[m].largest)) {
        const float keep = fast_exp2(state_[m].largest - largest);
        state_[m].largest = largest;
        state_[m].total *= keep;
        UNROLL for (int i = 0; i < kOutTiles; i++) {
          out_[i][2 * m] *= keep;
          out_[i][2 * m + 1] *= keep;
        }
      }
      const float reference = largest - kRoom;
      UNROLL for (int i = 0; i < kKeyTiles; i++) {
        UNROLL for (int j = 2 * m; j < 2 * m + 2; j++) {
          z[i][j] = fast_exp2(z[i][j] - reference);
          state_[m].total += z[i][j];
        }
      }
    }
  }
  GPU_FN void add(uint v, float (&w)[kKeyTiles][2 * kCount]) {
    const uint v_at = v + (LANE % 8 + LANE / 8 % 2 * 8) * S::kPitch + LANE / 16 * 16;
    UNROLL for (int k = 0; k < kKeyTiles / 2; k++) {
      uint a[S::kRowTiles][S::kTerms][4];
      UNROLL for (int r = 0; r < S::kRowTiles; r++) {
        UNROLL for (int term = 0; term < S::kTerms; term++) {
          UNROLL for (int j = 0; j < 4; j++) {  // rows g and g + 8 of keys 2t, then of keys 2t + 8
            float* const pair = w[2 * k + j / 2] + 4 * r + j % 2 * 2;
            a[r][term][j] = pack2(pair[0], pair[1], T());
            if (term + 1 < S::kTerms) {
              const float2 taken = unpack2(a[r][term][j], T());
              pair[0] -= taken.x;
              pair[1] -= taken.y;
            }
          }
        }
      }
      UNROLL for (int i = 0; i < kOutTiles; i += 2) {
        uint b[4];
        load_transposed(v_at + 16 * k * S::kPitch + 16 * i, b);
        UNROLL for (int term = S::kTerms - 1; term >= 0; term--) {
          UNROLL for (int r = 0; r < S::kRowTiles; r++) {
            multiply(T(), out_[i] + 4 * r, a[r][term], b[0], b[1]);
            multiply(T(), out_[i + 1] + 4 * r, a[r][term], b[2], b[3]);
          }
        }
      }
    }
  }

  uint queries_;
  float scale_[kCount];
  RowState state_[kCount];
  float out_[kOutTiles][2 * kCount];
};

// The rows of a threadgroup. The last ones come first, as they see most keys.
template <class S, bool kPlain>
GPU_FN QueryTile find_rows(const int* q_starts, const GpuAttnPrefill& p) {
  const uint at = gridDim.x - 1 - blockIdx.x;
  if (kPlain) return {blockIdx.z, at * S::kRows, 0, p.q_len, true};
  return query_tile<S::kRows>(at, blockIdx.z, q_starts, p);
}

// Grid: tiles of queries; heads; sequences. kPlain: the launch has no cap, slopes, mask, pages,
// packed rows or ring starts, and its cache holds at least a tile.
template <typename T, class S, bool kPlain>
__global__
__launch_bounds__(S::kThreads, kPlain&& S::kMemory <= 112 * 1024 ? 2 : 1) void attn_prefill_mma(
    const uchar* q, const uchar* k, const uchar* v, const int* kv_len, const int* q_offset,
    const int* ring_start, const int* prefix_len, const int* q_starts, const int* k_starts,
    const int* block_table, const uchar* mask, const uchar* classes, const float* sinks,
    const float* slopes, uchar* out, float* lse, const GpuAttnPrefill p) {
  await_inputs();
  extern __shared__ uint4 shared[];
  __shared__ float undo[S::kRows];
  __shared__ uint limits[2];  // keys that any row sees
  uchar* const memory = reinterpret_cast<uchar*>(shared);
  const uint tiles = shared_address(memory) + S::kQueryBytes;
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
    places.k_page = p.k.batch;
    places.v_page = p.v.batch;
  }
  const long offset = p.q_offset != 0 ? long(q_offset[b]) : long(held.end) - long(tile.count);
  const long prefix = p.prefix_len != 0 ? long(prefix_len[b]) : 0;

  constexpr int kCount = 2 * S::kRowTiles;
  SeenKeys seen[kCount];
  uint lo = ~0u, hi = 0, most_lo = 0, least_hi = ~0u;  // of this simdgroup's rows
  UNROLL for (int m = 0; m < kCount; m++) {
    const uint at = row + LANE / 4 + 8 * m;
    seen[m] = seen_keys(offset + at, prefix, held, p);
    const bool sees = at < tile.count && seen[m].lo < seen[m].hi;
    if (!sees) seen[m].lo = seen[m].hi = 0;
    lo = min(lo, __reduce_min_sync(~0u, sees ? seen[m].lo : ~0u));
    hi = max(hi, __reduce_max_sync(~0u, seen[m].hi));
    most_lo = max(most_lo, __reduce_max_sync(~0u, seen[m].lo));
    least_hi = min(least_hi, __reduce_min_sync(~0u, seen[m].hi));
  }
  if (threadIdx.x == 0) {
    limits[0] = ~0u;
    limits[1] = 0;
  }
  __syncthreads();
  if (LANE == 0) {
    atomicMin(&limits[0], lo);
    atomicMax(&limits[1], hi);
  }
  if (share == 0) {
    const ulong first_row =
        ulong(b) * p.q.batch + ulong(head) * p.q.head + ulong(tile.begin + row) * p.q.row;
    put_queries<T, S>(q, first_row, p.q.row, row < tile.count ? tile.count - row : 0, p, warp_row,
                      memory, undo);
  }
  __syncthreads();
  const uint end = limits[1];
  uint first = min(limits[0], end) / S::kKeys * S::kKeys;

  const ulong sequence = !kPlain && p.pages.size > 0 ? 0 : b;
  const uchar* const k_rows =
      k + 2 * (sequence * p.k.batch + ulong(head / p.group) * p.k.head + ulong(k_begin) * p.k.row);
  const uchar* const v_rows =
      v + 2 * (sequence * p.v.batch + ulong(head / p.group) * p.v.head + ulong(k_begin) * p.v.row);
  const auto copy = [&](uint key, uint stage) {
    if (key < end) {
      copy_tile<S>(tiles + stage * 2 * S::kTileBytes, k_rows, v_rows, p, key, places);
    }
    close_copies();
  };
  TileRules<kCount> rules = {};
  const ulong plane = ulong(b) * p.mask.batch + ulong(head) * p.mask.head;
  if constexpr (!kPlain) {
    rules.cap = p.logits_soft_cap * kLog2E;
    rules.slope = p.slopes != 0 ? slopes[head] * kLog2E : 0.0f;
    rules.mask_type = p.mask.type;
    UNROLL for (int m = 0; m < kCount; m++) {
      const uint at = row + LANE / 4 + 8 * m;
      rules.position[m] = uint(offset + at);
      rules.cells[m] = (plane * p.mask.rows + at) * p.mask.columns;
    }
  }
  Rows<T, S, kPlain> rows(shared_address(memory) + warp_row * S::kPitch, undo + warp_row, p);
  uint stage = 0;
  copy(first, 0);
  for (; first < end; first += S::kKeys, stage ^= 1) {
    wait_copies<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before
    copy(first + S::kKeys, stage ^ 1);
    uint mask_class = 1;
    if constexpr (!kPlain) {
      if (p.mask.classes != 0 && row < tile.count) {
        mask_class = classes[(plane * p.mask.tile_rows + row / kMaskRowTile) * p.mask.tile_columns +
                             first / kMaskKeyTile];
      }
      rules.mask = p.mask.type != kGpuMaskNone && mask_class == 1 ? mask : nullptr;
      UNROLL for (int i = 0; i < 2; i++) {
        uint block, slot;
        const uint key = first + 32 * i + LANE;
        const uint first_slot = (first + held.shift) % places.capacity;
        rules.there[i] = __ballot_sync(~0u, places.find(key, first, first_slot, &block, &slot));
      }
    }
    if (first < hi && first + S::kKeys > lo && mask_class != 0) {
      const uint at = tiles + stage * 2 * S::kTileBytes;
      const bool all_seen =
          first >= most_lo && first + S::kKeys <= least_hi && rules.mask == nullptr;
      rows.take(at, at + S::kTileBytes + share * 2 * S::kShareDim, first, seen, all_seen, rules);
    }
  }
  rows.finish();

  constexpr float kLn2 = 0.693147180559945f;
  UNROLL for (int m = 0; m < kCount; m++) {
    const uint at = row + LANE / 4 + 8 * m;
    if (at >= tile.count) continue;
    // Totals and outputs are 2^kRoom times what they stand for.
    float most = rows.state(m).largest * kLn2, total = rows.state(m).total * 0x1p-14f, keep = 1.0f;
    if (p.sinks != 0) keep = join_sink(sinks[head], &most, &total);
    const float scale = total == 0.0f ? 0.0f : 0x1p-14f * keep / total;
    const ulong out_row = ulong(b) * p.out.batch + ulong(head) * p.out.head +
                          ulong(tile.begin + at) * p.out.row + share * S::kShareDim + LANE % 4 * 2;
    UNROLL for (int i = 0; i < S::kShareDim / 8; i++) {
      const float2 o = rows.output(i, m);
      store_output(out, out_row + 8 * i, p.query_type, total == 0.0f ? 0.0f : o.x * scale);
      store_output(out, out_row + 8 * i + 1, p.query_type, total == 0.0f ? 0.0f : o.y * scale);
    }
    if (p.lse != 0 && share == 0 && LANE % 4 == 0) {
      const ulong sequences = p.q_starts != 0 ? 0 : b;
      lse[(sequences * p.num_heads + head) * p.q_len + tile.begin + at] = log_sum_exp(most, total);
    }
  }
}

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
