// SPDX-License-Identifier: Apache-2.0
// The threadgroup memory of the CUDA kernels over codes, in bytes. Launches ask for it, and kernels
// assert that they need no more.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attn_decode/cuda_plan.h"

namespace mlxn::kernels::tq_plan {

inline constexpr int64_t kKeys = 32;  // of a tile
using decode_plan::kColumns, decode_plan::sums_bytes;

// cuda_codes.h: its head dims, simdgroups, how many of them share a tile, and tiles of K, and of V,
// that are on their way to one.
constexpr bool has_codes(int64_t dim) {
  return dim == 64 || dim == 96 || dim == 128 || dim == 192 || dim == 256 || dim == 512;
}
constexpr int64_t codes_warps(int64_t dim) { return dim <= 128 ? 16 : 8; }
constexpr int64_t codes_shares(int64_t dim) { return dim == 512 ? 2 : 1; }
constexpr int codes_slots(int64_t dim) { return dim == 64 ? 4 : dim == 96 || dim == 192 ? 3 : 2; }

// few: up to four query heads a KV head.
constexpr int64_t codes_memory(int64_t dim, bool few) {
  constexpr int64_t kTable = 256 * 32 * 4;
  const int64_t slots = codes_slots(dim), warps = codes_warps(dim), shares = codes_shares(dim);
  const int64_t teams = warps / shares;
  const int64_t queries = (few ? 2 : 3) * dim / 32 * 32 * 8;
  const int64_t exchange = shares == 1 ? 0 : 2 * warps * (few ? 1 : 2) * 32 * 16;
  const int64_t norms = warps * (slots + 1) * kKeys * (shares == 1 ? 8 : 16);
  // With the gaps of cuda_tiles.h: in K four of 32 bytes or two of 64, in V four or eight of 32.
  const int64_t key_tile = kKeys * dim / 2 + (dim == 128 ? 0 : 128);
  const int64_t value_tile = kKeys * dim / 2 + (dim % 256 == 0 ? 8 : 4) * 32;
  const int64_t rings = teams * slots * (key_tile + value_tile);
  return kTable + queries + exchange + norms + std::max(rings, sums_bytes(dim, teams));
}

// cuda_levels.h and cuda_mixed.h, of eight simdgroups, whose rings have `stages` units each.
inline constexpr int64_t kLevelWarps = 8;
constexpr int64_t levels_stages(int64_t dim, int64_t bits) {
  if (dim == 192) return bits == 8 ? 3 : 4;
  return bits == 8 ? 4 : bits == 6 ? 7 : 8;
}
constexpr int64_t mixed_stages(int64_t dim) { return dim == 192 ? 3 : 4; }

// Rows of K or V that are copied as one run of bytes: not whole units, or not whole 16 bytes.
constexpr bool levels_packed(int64_t dim, int64_t bits) {
  return dim % 128 != 0 && (dim != 64 || bits % 2 != 0);
}
// 32 keys of `dim` elements of `bits` that begin anywhere between multiples of 16 bytes.
constexpr int64_t packed_bytes(int64_t dim, int64_t bits) { return kKeys * dim * bits / 8 + 32; }
// Of one width: an entry of 128 bytes for each code, or for two together.
constexpr int64_t levels_table(int64_t bits) {
  return (int64_t{1} << (bits <= 4 ? 2 * bits : bits)) * 128;
}
constexpr int64_t of_levels(int64_t dim, int64_t tables, int64_t unit_bytes, int64_t stages) {
  const int64_t queries = 2 * dim / 16 * 32 * 8;
  return tables + queries +
         std::max(kLevelWarps * stages * unit_bytes, sums_bytes(dim, kLevelWarps));
}
constexpr int64_t levels_memory(int64_t dim, int64_t bits) {
  const int64_t unit = levels_packed(dim, bits) ? packed_bytes(dim, bits)
                                                : kKeys * std::min<int64_t>(dim, 128) * bits / 8;
  return of_levels(dim, 2 * levels_table(bits), unit, levels_stages(dim, bits));
}
// Of two widths, up to the longest.
constexpr int64_t mixed_memory(int64_t dim) {
  const int64_t unit_dim = dim % 128 == 0 ? 128 : dim;
  return of_levels(dim, 2 * levels_table(8), packed_bytes(unit_dim, 8), mixed_stages(dim));
}

}  // namespace mlxn::kernels::tq_plan
