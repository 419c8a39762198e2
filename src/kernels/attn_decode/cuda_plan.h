// SPDX-License-Identifier: Apache-2.0
// The threadgroup memory of the CUDA kernels over floats, in bytes. Launches ask for it, and
// kernels assert that they need no more.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mlxn::kernels::decode_plan {

inline constexpr int64_t kColumns = 8;  // query heads of a threadgroup
inline constexpr int64_t kKeys = 16;    // of a tile
inline constexpr int64_t kWarps = 8;    // simdgroups
inline constexpr int64_t kStages = 4;   // units in a simdgroup's ring

// Sums of the simdgroups of a part, or teams of them, which take the place of their rings: rows of
// dim and 4 floats.
constexpr int64_t sums_bytes(int64_t dim, int64_t teams) {
  return teams * kColumns * (dim + 4) * 4;
}

// terms: 16-bit ones of a query.
constexpr int64_t memory(int64_t dim, int64_t terms) {
  const int64_t units = dim <= 128 ? 1 : dim <= 256 ? 2 : 4;
  const int64_t row_bytes = dim / units * 2 <= 128 ? 128 : 256;
  const int64_t rings = kWarps * kStages * kKeys * row_bytes;
  return terms * dim / 16 * 32 * 8 + std::max(rings, sums_bytes(dim, kWarps));
}

}  // namespace mlxn::kernels::decode_plan
