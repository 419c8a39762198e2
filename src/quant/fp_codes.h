// SPDX-License-Identifier: Apache-2.0
// The small floats of the OCP Microscaling Formats: elements E2M1 and E4M3, scales E8M0 and E4M3.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace mlxn::quant {

// Twice the value of an E2M1 code: the sign is bit 3.
inline constexpr int8_t kE2m1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 127); e = 0 is a subnormal of f32, e = 255 not a number.
inline float from_e8m0(uint8_t e) {
  if (e == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(e == 0 ? 0x00400000u : uint32_t{e} << 23);
}

// 2^(e - 128), finite for every e; the two smallest are subnormal.
inline float half_e8m0(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

// 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinities, S.1111.111 is not a number.
inline float from_e4m3(uint8_t v) {
  const int exponent = (v >> 3) & 15, mantissa = v & 7;
  if ((v & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (v & 0x80) != 0 ? -magnitude : magnitude;
}

// Nearest E4M3, ties to even; magnitudes beyond 448 give 448.
inline uint8_t to_e4m3(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (!(magnitude < 464.0f)) return sign | 0x7e;  // halfway between 448 and the next, 480
  int exponent = -9;
  if (magnitude > 0.0f)
    std::frexp(magnitude, &exponent);  // magnitude = f * 2^exponent, f in [0.5, 1)
  // Units of 2^(exponent - 4), but never below the subnormals' 2^-9.
  const int unit = exponent - 4 < -9 ? -9 : exponent - 4;
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -unit)));
  // 8 .. 16 steps are a normal number of that unit; 16 carries into the exponent by itself.
  const int bits = unit == -9 && steps < 8 ? steps : ((unit + 9) << 3) + steps;
  return static_cast<uint8_t>(sign | (bits > 0x7e ? 0x7e : bits));
}

}  // namespace mlxn::quant
