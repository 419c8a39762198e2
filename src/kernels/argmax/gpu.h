// SPDX-License-Identifier: Apache-2.0
// argmax in two launches, so that one long row keeps the whole device busy: the best of every chunk
// of a row, then the best of those.
//   x [rows, count]   ranks, places [rows, chunks]   indices, values [rows]
#include "kernels/argmax/gpu_args.h"
#include "kernels/common/gpu_rank.h"

KERNELS_BEGIN(argmax)

// The best of the elements of x[begin, end) that thread `first` of `step` takes.
GPU_FN void argmax_range(DEVICE const float* x, uint begin, uint end, bool vectors, uint first,
                         uint step, THREAD uint* rank, THREAD uint* place) {
  constexpr int V = 4;
  *rank = 0;
  *place = 0xffffffffu;
  for (uint at = begin + V * first; at < end; at += V * step) {
    float v[V];
    load_row<V>(x + at, end - at, vectors, v);
    UNROLL for (int j = 0; j < V; j++) {
      const uint other = rank_bits(v[j]);
      // Elements come by rising index, so an equal one does not displace the first.
      if (at + j < end && (other > *rank || *place == 0xffffffffu)) {
        *rank = other;
        *place = at + j;
      }
    }
  }
}

KERNEL(argmax_chunks, IN(float, x), OUT(uint, ranks), OUT(uint, places), PARAMS(GpuArgmax, p)) {
  await_inputs();
  SHARED(uint, group_ranks, 32);
  SHARED(uint, group_places, 32);
  const uint row = GROUP_ID.x / p.chunks;
  const uint begin = GROUP_ID.x % p.chunks * p.chunk, end = min(begin + p.chunk, p.count);
  uint rank, place;
  argmax_range(x + ulong(row) * p.count, begin, end, p.vectors != 0, THREAD_ID, GROUP_SIZE, &rank,
               &place);
  group_best(&rank, &place, group_ranks, group_places, IN_GROUP);
  if (THREAD_ID == 0) {
    ranks[GROUP_ID.x] = rank;
    places[GROUP_ID.x] = place;
  }
}

// Rows of one chunk need no second launch.
KERNEL(argmax_rows, IN(float, x), OUT(uint, indices), OUT(float, values), PARAMS(GpuArgmax, p)) {
  await_inputs();
  SHARED(uint, group_ranks, 32);
  SHARED(uint, group_places, 32);
  DEVICE const float* row = x + ulong(GROUP_ID.x) * p.count;
  uint rank, place;
  argmax_range(row, 0, p.count, p.vectors != 0, THREAD_ID, GROUP_SIZE, &rank, &place);
  group_best(&rank, &place, group_ranks, group_places, IN_GROUP);
  if (THREAD_ID > 0) return;
  indices[GROUP_ID.x] = place;
  if (p.values != 0) values[GROUP_ID.x] = row[place];
}

// One simdgroup per row.
KERNEL(argmax_merge, IN(float, x), IN(uint, ranks), IN(uint, places), OUT(uint, indices),
       OUT(float, values), PARAMS(GpuArgmax, p)) {
  await_inputs();
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
EXPORT(argmax_rows)

KERNELS_END
