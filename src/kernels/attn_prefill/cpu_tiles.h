// SPDX-License-Identifier: Apache-2.0
// How the work of attn_prefill is cut into tasks on the CPU.
#pragma once

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/attn_prefill/params.h"
#include "kernels/attn_prefill/sequence.h"

namespace mlxn::kernels {

// Query positions of a tile. About 128 rows amortise the conversion of K and V; at head dim 512 the
// working set of 96 rows still fits 1 MiB of second-level cache.
inline int64_t positions_per_tile(const AttnPrefillParams& p) {
  const int64_t rows = p.head_dim + p.v_dim > 512 ? 96 : 128;
  return std::max<int64_t>(1, rows * p.num_kv_heads / p.num_heads);
}

// The index-th tile of packed sequences, counted over all of them. False: there is none.
struct QueryTile {
  int64_t b;
  int64_t tile;
};
inline bool find_tile(const AttnPrefillParams& p, int64_t index, QueryTile& found) {
  const int64_t each = positions_per_tile(p);
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t tiles = base::ceil_div(packed_rows(p.q_starts, b, p.q_len).count, each);
    if (index < tiles) {
      found = {b, index};
      return true;
    }
    index -= tiles;
  }
  return false;
}

// Records the tiles of all sequences and KV heads; run(b, kv_head, tile) works on one.
template <class Run>
void dispatch_query_tiles(StreamImpl& stream, const char* op, const char* entry,
                          const AttnPrefillParams& p, backends::Access access, Run run) {
  auto& cpu = backends::cpu::cpu_stream(stream);
  const int64_t each = positions_per_tile(p);
  if (p.q_starts != nullptr) {
    // As many tiles as the packed rows can make; where they end is known when the work runs.
    const int64_t tiles = p.q_len / each + p.batch;
    return cpu.dispatch(op, entry, std::move(access), p.num_kv_heads * tiles,
                        [p, tiles, run](uint32_t task) {
                          QueryTile found;
                          if (!find_tile(p, task % tiles, found)) return;
                          run(found.b, task / tiles, found.tile);
                        });
  }
  const int64_t tiles = base::ceil_div(p.q_len, each);
  cpu.dispatch(op, entry, std::move(access), p.batch * p.num_kv_heads * tiles,
               [heads = p.num_kv_heads, tiles, run](uint32_t task) {
                 const int64_t row = task / tiles;
                 // Late tiles see more keys; they go first so that the threads finish together.
                 run(row / heads, row % heads, tiles - 1 - task % tiles);
               });
}

}  // namespace mlxn::kernels
