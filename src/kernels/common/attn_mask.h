// SPDX-License-Identifier: Apache-2.0
// What a cell of an attention mask says, by its bits. An additive cell at or below the sentinel of
// its type (f32 and bf16: -1e30, f16: -65504) blocks its key; so does a u8 of 0.
#pragma once

#include <cstdint>

namespace mlxn::kernels {

// Classes of the tiles of a mask; values as ops::AttnMaskClass.
inline constexpr uint8_t kMaskBlocked = 0, kMaskMixed = 1, kMaskFree = 2;

// Bits of an additive mask's element type: those of the sentinel and of -infinity. Negative floats
// grow in magnitude as their bits grow as integers.
template <class Bits>
struct MaskCell {
  Bits sentinel;
  Bits infinity;

  bool blocked(Bits bits) const { return bits >= sentinel && bits <= infinity; }
  static bool zero(Bits bits) { return static_cast<Bits>(bits << 1) == 0; }
};
inline constexpr MaskCell<uint32_t> kMaskF32{0xf149f2cau, 0xff800000u};
inline constexpr MaskCell<uint16_t> kMaskF16{0xfbff, 0xfc00};
inline constexpr MaskCell<uint16_t> kMaskBF16{0xf14a, 0xff80};

}  // namespace mlxn::kernels
