// SPDX-License-Identifier: Apache-2.0
// Values of 4-bit codes that index a table, lifted by an offset so that they are unsigned bytes.
#pragma once

#include <cstdint>

namespace mlxn::kernels::matmul {

// IQ4_NL and IQ4_XS: -127, -104, -83, ... 113.
inline constexpr int kIq4Offset = 127;
inline constexpr uint8_t kIq4Codes[16] = {0,   23,  44,  62,  78,  92,  105, 117,
                                          128, 140, 152, 165, 180, 196, 216, 240};

// E2M1, doubled: 0, 1, 2, 3, 4, 6, 8, 12, then the same negative.
inline constexpr int kFp4Offset = 12;
inline constexpr uint8_t kFp4Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                          12, 11, 10, 9,  8,  6,  4,  0};

}  // namespace mlxn::kernels::matmul
