// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, a counter-based random number generator: the same key and counter give the same
// numbers on every machine, in any order (Salmon et al., "Parallel random numbers: as easy as 1, 2,
// 3", SC11).
#pragma once

#include <array>
#include <cstdint>

namespace mlxn::kernels {

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                          std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xd2511f53} * counter[0];
    const uint64_t b = uint64_t{0xcd9e8d57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9e3779b9;  // golden ratio
    key[1] += 0xbb67ae85;  // sqrt(3) - 1
  }
  return counter;
}

// The uniform number in [0, 1) of a draw: 53 bits. Key: the seed; counter: position, sequence, 0.
inline double draw_uniform(uint64_t seed, uint32_t sequence, int64_t position) {
  const uint64_t at = static_cast<uint64_t>(position);
  const auto bits =
      philox4x32({static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), sequence, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<double>((uint64_t{bits[0]} << 32 | bits[1]) >> 11) * 0x1p-53;
}

}  // namespace mlxn::kernels
