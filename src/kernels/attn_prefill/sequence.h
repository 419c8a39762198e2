// SPDX-License-Identifier: Apache-2.0
// One sequence of an attn_prefill call, as its device-resident values say, and the keys that a
// query of it sees.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attn_prefill/params.h"
#include "kernels/common/attn_keys.h"

namespace mlxn::kernels {

// Tiles of an explicit mask, as in AttnMaskTiles.
inline constexpr int64_t kMaskQTile = 32;
inline constexpr int64_t kMaskKTile = kAttnKeyTile;

struct PrefillSequence {
  int64_t q_begin;  // row of query 0 among the packed rows
  int64_t q_len;
  int64_t k_begin;   // row of position 0 among the packed rows
  int64_t position;  // of query 0
  int64_t prefix;    // positions below it are not blocked by `causal`
  KeyMap map;
};

// Rows [begin, begin + count) of sequence b. Values of a device buffer cannot be checked when the
// work is recorded, so they are clamped to the rows there are.
struct PackedRows {
  int64_t begin;
  int64_t count;
};
inline PackedRows packed_rows(const int32_t* starts, int64_t b, int64_t rows) {
  const int64_t begin = std::clamp<int64_t>(starts[b], 0, rows);
  return {begin, std::clamp<int64_t>(starts[b + 1], begin, rows) - begin};
}

inline PrefillSequence prefill_sequence(const AttnPrefillParams& p, int64_t b) {
  PrefillSequence s{0, p.q_len, 0, 0, p.prefix_len != nullptr ? p.prefix_len[b] : 0, {}};
  if (p.q_starts != nullptr) {
    const PackedRows rows = packed_rows(p.q_starts, b, p.q_len);
    s.q_begin = rows.begin;
    s.q_len = rows.count;
  }
  if (p.k_starts != nullptr) {
    const PackedRows rows = packed_rows(p.k_starts, b, p.capacity);
    s.k_begin = rows.begin;
    s.map = make_key_map(rows.count, 0, false, std::max<int64_t>(1, rows.count));
  } else {
    s.map = make_key_map(p.kv_len[b], p.ring_start ? p.ring_start[b] : 0, p.ring, p.capacity);
  }
  s.position = p.q_offset != nullptr ? p.q_offset[b] : s.map.end - s.q_len;
  return s;
}

// Positions [lo, hi) that the query at `position` may see, mask aside. Both grow with it.
struct SeenKeys {
  int64_t lo;
  int64_t hi;
};
inline SeenKeys seen_keys(const AttnPrefillParams& p, const PrefillSequence& s, int64_t position) {
  int64_t lo = s.map.first, hi = s.map.end;
  if (p.causal) hi = std::min(hi, std::max(position + 1, s.prefix));
  if (p.window_size > 0) lo = std::max(lo, position - p.window_size + 1);
  if (p.window_ahead > 0) hi = std::min(hi, position + p.window_ahead);
  if (p.chunk_size > 0) {
    // The chunk of a position before 0 holds no keys.
    const int64_t chunk = position < 0 ? 0 : position / p.chunk_size * p.chunk_size;
    lo = std::max(lo, chunk);
    hi = std::min(hi, position < 0 ? 0 : chunk + p.chunk_size);
  }
  if (p.mask.data != nullptr) hi = std::min(hi, p.mask.columns);
  return {lo, hi};
}

}  // namespace mlxn::kernels
