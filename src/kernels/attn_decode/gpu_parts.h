// SPDX-License-Identifier: Apache-2.0
// How a decode on a GPU is cut, over floats and over codes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attn_decode/splits.h"
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {

// Query heads that a threadgroup of the shared kernels takes.
inline int64_t heads_per_tile(const AttnDecodeParams& p) {
  const int64_t group = p.num_heads / p.num_kv_heads;
  return group >= 4 ? 4 : group >= 2 ? 2 : 1;
}

// Of the shared kernels: a short context has work for many threadgroups.
inline constexpr GpuParts kSharedParts = {
    .least_keys = 64, .most_keys = uint32_t{1} << 31, .most_parts = 64};

// Of the kernels on matrix units, one of which fills a compute unit: a part for each unit, but for
// short contexts, of which simdgroups in four get a tile of 32 keys (eight of 16): the time of a
// tile is then latency, which fewer simdgroups wait for. Sums of
// a product are cut, not rounded, to f32: the error of adding 4096 keys, of a simdgroup in eight,
// is still far below the tolerance.
inline GpuParts matrix_parts(const AttnDecodeParams& p, int64_t tiles, int64_t compute_units) {
  const int64_t rows = p.num_kv_heads * tiles;  // not of the batch: bits do not depend on it
  return {.least_keys = 128,
          .most_keys = 32768,
          .most_parts = static_cast<uint32_t>(std::max<int64_t>(1, compute_units / rows))};
}

// Threadgroup memory that at least they ask for, so that a compute unit has one threadgroup: two on
// one while another has none take twice the time, and a kernel may start while some units are still
// busy with the one in front of it.
inline constexpr int64_t kWholeUnit = 116 * 1024;

// The merge of these kernels: threads, and threadgroups of a query head, each with a chunk of its
// row (PartMerge in cuda_join.h).
inline constexpr uint32_t kMergeThreads = 256;
inline uint32_t merge_chunks(int64_t dim) {
  return static_cast<uint32_t>(dim <= 128 ? 1 : dim % 128 == 0 ? dim / 128 : 2);
}

// Threadgroups along the second and third axis of a CUDA grid.
inline constexpr int64_t kMaxGrid = 65535;

// Parts that a cache of this capacity can need.
inline int64_t gpu_splits(const AttnDecodeParams& p, const GpuParts& parts) {
  const int64_t most = most_visible(p);
  const int64_t least = base::ceil_div(most, int64_t{parts.most_keys});
  if (p.n_split > 0) return std::max<int64_t>(p.n_split, least);
  const int64_t wanted = base::ceil_div(most, int64_t{parts.least_keys});
  return std::max({int64_t{1}, least, std::min(wanted, int64_t{parts.most_parts})});
}

// Threads of a merge: as many whole rows of them as fit 1024. The order of its sums follows from
// them, so they do not depend on the number of parts.
inline uint32_t merge_threads(const AttnDecodeParams& p) {
  const uint32_t row = group_threads(p.v_dim);
  return row * (1024 / row);
}

}  // namespace mlxn::kernels
