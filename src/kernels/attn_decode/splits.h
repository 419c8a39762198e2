// SPDX-License-Identifier: Apache-2.0
// How the visible keys of one sequence are cut into parts that are worked on independently. The
// cut depends on the number of visible keys and on n_split, never on batch, threads or capacity.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/checked.h"
#include "kernels/attn_decode/params.h"
#include "kernels/common/attn_keys.h"

namespace mlxn::kernels {

// Below 256 keys (64 KiB of f16 rows at dims 128) handing a part out costs more than it gains. A
// long context has parts enough, and longer ones spend less on the start of a part, whose first
// rows nobody has asked for ahead and whose queries are prepared anew. More than 64 parts would
// only make the merge longer.
inline constexpr int64_t kSplitKeys = 256;
inline constexpr int64_t kLongContext = 2048;
inline constexpr int64_t kLongSplitKeys = 512;
inline constexpr int64_t kLongerContext = 8192;
inline constexpr int64_t kLongerSplitKeys = 1024;
inline constexpr int64_t kMaxAutoSplits = 64;

// Positions [first, end) that the query at position end - 1 sees.
struct VisibleKeys {
  int64_t first;
  int64_t end;
  int64_t count() const { return end - first; }
};

inline VisibleKeys visible_keys(const KeyMap& map, int64_t window_size, int64_t chunk_size = 0) {
  int64_t oldest = window_size > 0 ? map.end - std::min(window_size, map.end) : 0;
  if (chunk_size > 0 && map.end > 0) {
    oldest = std::max(oldest, (map.end - 1) / chunk_size * chunk_size);
  }
  return {std::max(map.first, oldest), map.end};
}

// Keys per part; part i covers [i * keys, (i + 1) * keys) of the visible ones.
inline int64_t split_keys(int64_t visible, int64_t n_split) {
  if (n_split > 0) return std::max<int64_t>(1, base::ceil_div(visible, n_split));
  const int64_t even = base::ceil_div(visible, kMaxAutoSplits);
  const int64_t least = visible > kLongerContext ? kLongerSplitKeys
                        : visible > kLongContext ? kLongSplitKeys
                                                 : kSplitKeys;
  return std::max(least, base::round_up(even, kAttnKeyTile));
}

// Keys that one query can see of a cache of this capacity.
inline int64_t most_visible(const AttnDecodeParams& p) {
  int64_t most = p.capacity;
  if (p.window_size > 0) most = std::min(most, p.window_size);
  if (p.chunk_size > 0) most = std::min(most, p.chunk_size);
  return most;
}

// Parts that a cache of this capacity can need.
inline int64_t max_splits(const AttnDecodeParams& p) {
  if (p.n_split > 0) return p.n_split;
  const int64_t most = most_visible(p);
  const int64_t of_short = base::ceil_div(std::min(most, kLongContext), kSplitKeys);
  const int64_t of_long = base::ceil_div(std::min(most, kLongerContext), kLongSplitKeys);
  const int64_t of_longer = base::ceil_div(most, kLongerSplitKeys);
  return std::max({of_short, of_long, std::min(kMaxAutoSplits, of_longer)});
}

}  // namespace mlxn::kernels
