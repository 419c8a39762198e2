// SPDX-License-Identifier: Apache-2.0
// Eight weight rows side by side in two NEON registers, one per 32-bit lane. Included inside an
// anonymous namespace.
//
// Products are 16 times 16 bits, as activations are 16-bit integers. The dot product of bytes
// (sdot) would need two digits per activation and codes that are regrouped four by four.
#pragma once

struct Lanes {
  static constexpr int kRows = 8;
  // Panels and rows of x at once: 8 integer and 8 float registers of sums out of 32.
  static constexpr int kTilePanels = 1, kTileRows = 4;
  struct Int {
    int32x4_t v[2];
  };
  struct Float {
    float32x4_t v[2];
  };

  // fn on each register, as NEON's types for the elements.
  template <typename Fn>
  static Int map_s32(Int a, Fn fn) {
    return {{fn(a.v[0]), fn(a.v[1])}};
  }
  template <typename Fn>
  static Int map_u32(Int a, Fn fn) {
    return map_s32(
        a, [&](int32x4_t v) { return vreinterpretq_s32_u32(fn(vreinterpretq_u32_s32(v))); });
  }
  template <typename Fn>
  static Int map_u16(Int a, Fn fn) {
    return map_s32(
        a, [&](int32x4_t v) { return vreinterpretq_s32_u16(fn(vreinterpretq_u16_s32(v))); });
  }

  static Int splat(int32_t v) { return {{vdupq_n_s32(v), vdupq_n_s32(v)}}; }
  static Float splat(float v) { return {{vdupq_n_f32(v), vdupq_n_f32(v)}}; }
  static Int load(const int32_t* p) { return {{vld1q_s32(p), vld1q_s32(p + 4)}}; }
  static Int load_once(const int32_t* p) {  // lanes_avx512.h
    Int v = load(p);
    asm("" : "+w"(v.v[0]), "+w"(v.v[1]));
    return v;
  }
  static Float load(const float* p) { return {{vld1q_f32(p), vld1q_f32(p + 4)}}; }
  static void store(Int v, int32_t* p) {
    vst1q_s32(p, v.v[0]);
    vst1q_s32(p + 4, v.v[1]);
  }
  static void store(Float v, float* p) {
    vst1q_f32(p, v.v[0]);
    vst1q_f32(p + 4, v.v[1]);
  }
  static Int add(Int a, Int b) { return {{vaddq_s32(a.v[0], b.v[0]), vaddq_s32(a.v[1], b.v[1])}}; }
  static Int bit_and(Int a, Int b) {
    return {{vandq_s32(a.v[0], b.v[0]), vandq_s32(a.v[1], b.v[1])}};
  }
  static Int bit_or(Int a, Int b) {
    return {{vorrq_s32(a.v[0], b.v[0]), vorrq_s32(a.v[1], b.v[1])}};
  }
  template <int kBits>
  static Int shift_right_16(Int a) {
    return map_u16(a, [](uint16x8_t v) { return vshrq_n_u16(v, kBits); });
  }
  static Int shift_right_16(Int a, int bits) {
    const int16x8_t by = vdupq_n_s16(static_cast<int16_t>(-bits));
    return map_u16(a, [&](uint16x8_t v) { return vshlq_u16(v, by); });
  }
  template <int kBits>
  static Int shift_left_16(Int a) {
    return map_u16(a, [](uint16x8_t v) { return vshlq_n_u16(v, kBits); });
  }
  template <int kBits>
  static Int shift_right_signed_16(Int a) {
    return map_u16(a, [](uint16x8_t v) {
      return vreinterpretq_u16_s16(vshrq_n_s16(vreinterpretq_s16_u16(v), kBits));
    });
  }
  static Int shift_right_32(Int a, int bits) {
    return map_u32(a, [&](uint32x4_t v) { return vshlq_u32(v, vdupq_n_s32(-bits)); });
  }
  static Int shift_left_32(Int a, int bits) {
    return map_u32(a, [&](uint32x4_t v) { return vshlq_u32(v, vdupq_n_s32(bits)); });
  }
  static Int shift_right_signed_32(Int a, int bits) {
    return map_s32(a, [&](int32x4_t v) { return vshlq_s32(v, vdupq_n_s32(-bits)); });
  }
  static Float to_float(Int a) { return {{vcvtq_f32_s32(a.v[0]), vcvtq_f32_s32(a.v[1])}}; }
  static Float bits_to_float(Int a) {
    return {{vreinterpretq_f32_s32(a.v[0]), vreinterpretq_f32_s32(a.v[1])}};
  }
  static Float add(Float a, Float b) {
    return {{vaddq_f32(a.v[0], b.v[0]), vaddq_f32(a.v[1], b.v[1])}};
  }
  static Float mul(Float a, Float b) {
    return {{vmulq_f32(a.v[0], b.v[0]), vmulq_f32(a.v[1], b.v[1])}};
  }
  static Float mul_add(Float a, Float b, Float c) {
    return {{vfmaq_f32(c.v[0], a.v[0], b.v[0]), vfmaq_f32(c.v[1], a.v[1], b.v[1])}};
  }
  static Float negate(Float a) { return {{vnegq_f32(a.v[0]), vnegq_f32(a.v[1])}}; }
  static Float widen(uint16x4_t low, uint16x4_t high) {
    return {{vcvt_f32_f16(vreinterpret_f16_u16(low)), vcvt_f32_f16(vreinterpret_f16_u16(high))}};
  }
  // The f16 in the low half of each lane.
  static Float low_f16(Int a) {
    return widen(vmovn_u32(vreinterpretq_u32_s32(a.v[0])),
                 vmovn_u32(vreinterpretq_u32_s32(a.v[1])));
  }

  static Int ones_where_equal(Int a, Int b) {
    return {{vreinterpretq_s32_u32(vceqq_s32(a.v[0], b.v[0])),
             vreinterpretq_s32_u32(vceqq_s32(a.v[1], b.v[1]))}};
  }
  static bool any(Int a) {
    return vmaxvq_u32(vreinterpretq_u32_s32(vorrq_s32(a.v[0], a.v[1]))) != 0;
  }
  static Int max(Int a, Int b) { return {{vmaxq_s32(a.v[0], b.v[0]), vmaxq_s32(a.v[1], b.v[1])}}; }

  // kRows values that lie side by side.
  static Int widen_u16(uint16x8_t v) {
    return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(v))),
             vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(v)))}};
  }
  static uint16x8_t load_halves(const std::byte* p) {
    return vreinterpretq_u16_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p)));
  }
  static Int load_u8(const std::byte* p) {
    return widen_u16(vmovl_u8(vld1_u8(reinterpret_cast<const uint8_t*>(p))));
  }
  static Int load_u16(const std::byte* p) { return widen_u16(load_halves(p)); }
  static Float load_f16(const std::byte* p) {
    const uint16x8_t v = load_halves(p);
    return widen(vget_low_u16(v), vget_high_u16(v));
  }

  // Bytes that 4-bit codes stand for.
  using Table = uint8x16_t;
  static Table load_table(const uint8_t* values) { return vld1q_u8(values); }
  static Int look_up(Table table, Int codes) {
    return map_s32(codes, [&](int32x4_t v) {
      return vreinterpretq_s32_u8(vqtbl1q_u8(table, vreinterpretq_u8_s32(v)));
    });
  }

  // Byte j of each lane = 16 * (bit shift + j of the lane of a); lanes_avx2.h has the factor.
  static Int spread_fifth_bits(Int a, int shift) {
    return map_u32(shift_right_32(a, shift), [](uint32x4_t v) {
      const uint32x4_t nibble = vandq_u32(v, vdupq_n_u32(15));
      return vandq_u32(vmulq_n_u32(nibble, 0x02040810), vdupq_n_u32(0x10101010));
    });
  }

  // Two activations for all lanes, and sum += w.lo16 * x.lo16 + w.hi16 * x.hi16. The halves of w
  // are shared by all rows of x.
  static int16x4_t pair(const int16_t* q) {
    int32_t bits;
    std::memcpy(&bits, q, sizeof(bits));
    return vreinterpret_s16_s32(vdup_n_s32(bits));
  }
  static Int dot(Int sum, Int w, int16x4_t x) {
    for (int i = 0; i < 2; ++i) {
      sum.v[i] = vmlal_lane_s16(sum.v[i], vmovn_s32(w.v[i]), x, 0);
      sum.v[i] = vmlal_lane_s16(sum.v[i], vshrn_n_s32(w.v[i], 16), x, 1);
    }
    return sum;
  }

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the 16 bytes at rows[r] + offset: a 4 x 4
  // transposition per register.
  static void gather_16_bytes(const std::byte* const* rows, int64_t offset, Int out[4]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const auto piece = [&](int r) {
        const auto* at = reinterpret_cast<const uint8_t*>(rows[4 * half + r] + offset);
        return vreinterpretq_s32_u8(vld1q_u8(at));
      };
      const int32x4x2_t a = vtrnq_s32(piece(0), piece(1)), b = vtrnq_s32(piece(2), piece(3));
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        out[i].v[half] = vcombine_s32(vget_low_s32(a.val[i]), vget_low_s32(b.val[i]));
        out[i + 2].v[half] = vcombine_s32(vget_high_s32(a.val[i]), vget_high_s32(b.val[i]));
      }
    }
  }

  // Lane r = the 4 bytes at rows[r] + offset.
  static Int gather_word(const std::byte* const* rows, int64_t offset) {
    int32_t words[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&words[r], rows[r] + offset, sizeof(words[r]));
    return load(words);
  }

  // The f16 at rows[r] + offset.
  static Float gather_f16(const std::byte* const* rows, int64_t offset) {
    std::byte bits[2 * kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(bits + 2 * r, rows[r] + offset, 2);
    return load_f16(bits);
  }
};
