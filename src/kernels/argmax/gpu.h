// SPDX-License-Identifier: Apache-2.0
// argmax in two launches, so that one long row keeps the whole device busy: the best of every chunk
// of a row, then the best of those.
//   x [rows, count]   ranks, places [rows, chunks]   indices, values [rows]
#include "kernels/argmax/gpu_args.h"
#include "kernels/common/gpu_rank.h"

KERNELS_BEGIN(argmax)

KERNEL(argmax_chunks, IN(float, x), OUT(uint, ranks), OUT(uint, places), PARAMS(GpuArgmax, p)) {
  constexpr int V = 4;
  SHARED(uint, group_ranks, 32);
  SHARED(uint, group_places, 32);
  const uint row = GROUP_ID.x / p.chunks;
  const uint begin = GROUP_ID.x % p.chunks * p.chunk, end = min(begin + p.chunk, p.count);
  uint rank = 0, place = 0xffffffffu;
  for (uint at = begin + V * THREAD_ID; at < end; at += V * GROUP_SIZE) {
    float v[V];
    load_row<V>(x + ulong(row) * p.count + at, end - at, p.vectors != 0, v);
    UNROLL for (int j = 0; j < V; j++) {
      const uint other = rank_bits(v[j]);
      // Elements come by rising index, so an equal one does not displace the first.
      if (at + j < end && (other > rank || place == 0xffffffffu)) {
        rank = other;
        place = at + j;
      }
    }
  }
  group_best(&rank, &place, group_ranks, group_places, IN_GROUP);
  if (THREAD_ID == 0) {
    ranks[GROUP_ID.x] = rank;
    places[GROUP_ID.x] = place;
  }
}

// One simdgroup per row.
KERNEL(argmax_merge, IN(float, x), IN(uint, ranks), IN(uint, places), OUT(uint, indices),
       OUT(float, values), PARAMS(GpuArgmax, p)) {
  const uint row = GROUP_ID.x;
  uint rank = 0, place = 0xffffffffu;
  for (uint i = LANE; i < p.chunks; i += SIMD_WIDTH) {
    const uint other = ranks[ulong(row) * p.chunks + i];
    if (other > rank || place == 0xffffffffu) {
      rank = other;
      place = places[ulong(row) * p.chunks + i];
    }
  }
  simd_best(&rank, &place);
  if (LANE > 0) return;
  indices[row] = place;
  if (p.values != 0) values[row] = x[ulong(row) * p.count + place];
}

EXPORT(argmax_chunks)
EXPORT(argmax_merge)

KERNELS_END
