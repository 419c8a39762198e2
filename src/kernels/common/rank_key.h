// SPDX-License-Identifier: Apache-2.0
// Floats with their indices as integers whose descending order is the rank order of the library:
// larger values first, equal values by lower index, NaN last (by lower index).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace mlxn::kernels {

// Order-preserving image of a float; NaN is 0, the least; both zeros are equal.
inline uint32_t rank_bits(float value) {
  if (std::isnan(value)) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 + 0 = +0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

inline uint64_t rank_key(float value, uint32_t index) {
  return uint64_t{rank_bits(value)} << 32 | (0xffffffffu - index);
}

inline uint32_t rank_index(uint64_t key) { return 0xffffffffu - static_cast<uint32_t>(key); }

// Elements of working memory that TopKeys (top_keys-inl.h) needs. Beyond k it collects candidates,
// so that the selection runs once per many of them.
inline int64_t top_keys_room(int64_t count, int64_t k) { return std::min(count, 2 * k + 256); }

}  // namespace mlxn::kernels
