// SPDX-License-Identifier: Apache-2.0
// Codecs of the MLX formats, whose scales are an array beside the codes (panel_formats.h says what
// a codec is). A row of codes is one bit stream, least significant bit first; a block of 32 codes
// is kBits words. Included inside the same anonymous namespace.
#pragma once

template <int kBits>
struct CodeStream {
  static constexpr int kUnitElements = 32, kStepBlocks = 1;
  static constexpr int kUnitBytes = 4 * kBits, kWords = kBits, kWordsAt = 0, kSideAt = 0;
};

// Affine. Codes go in groups of 2 * kPairDistance whose bits fit the two 16-bit halves of a lane,
// then step t shows the pair (t, t + kPairDistance). With 3 and 5 bits a group has 30 bits and two
// codes of each 32 are left over: the last pair.
template <int kBits>
struct Affine : CodeStream<kBits> {
  static constexpr Terms kTerms = Terms::kScaleBias;
  static constexpr int kCodeOffset = 0;
  static constexpr int kPairDistance = 16 / kBits;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    const int per_group = span.group_size() / 32;
    for (int b = 0; b < blocks;) {
      const Float scale = span.scale(b / per_group), bias = span.bias(b / per_group);
      for (int i = 0; i < per_group; ++i, ++b, out += 2 * kRows) {
        Lanes::store(scale, out);
        Lanes::store(bias, out + kRows);
      }
    }
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[kBits];
    span.template words<kBits>(block, 0, v);
    constexpr int kGroupBits = 2 * kPairDistance * kBits, kGroups = 32 * kBits / kGroupBits;
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const Int group = halves<kGroupBits / 2>(bits_at(v, g * kGroupBits));
#pragma GCC unroll 8
      for (int t = 0; t < kPairDistance; ++t) {
        sink(0, g * kPairDistance + t, code_pair(group, t));
      }
    }
    if constexpr (kGroups * kGroupBits < 32 * kBits) {
      const Int last = v[kBits - 1];
      const Int first = bits_of(last, 32 - 2 * kBits, (1 << kBits) - 1);
      const Int second = Lanes::shift_left_32(Lanes::shift_right_32(last, 32 - kBits), 16);
      sink(0, 15, Lanes::bit_or(first, second));
    }
  }

 private:
  // 32 bits of the stream from bit `at` on; those past the last word are unspecified.
  static Int bits_at(const Int* v, int at) {
    const int word = at / 32, shift = at % 32;
    if (shift == 0) return v[word];
    const Int low = Lanes::shift_right_32(v[word], shift);
    if (word + 1 == kBits) return low;
    return Lanes::bit_or(low, Lanes::shift_left_32(v[word + 1], 32 - shift));
  }
  // The low kHalfBits bits in the low half of the lane, the next ones in the high half.
  template <int kHalfBits>
  static Int halves(Int v) {
    if constexpr (kHalfBits == 16) return v;
    constexpr int32_t kMask = (1 << kHalfBits) - 1;
    const Int low = Lanes::bit_and(v, Lanes::splat(kMask));
    const Int high = Lanes::shift_left_32(v, 16 - kHalfBits);
    return Lanes::bit_or(low, Lanes::bit_and(high, Lanes::splat(kMask << 16)));
  }
  static Int code_pair(Int group, int t) {
    constexpr int32_t kMask = (1 << kBits) - 1;
    if (kBits * (t + 1) == 16) return Lanes::shift_right_16(group, kBits * t);
    return Lanes::bit_and(Lanes::shift_right_16(group, kBits * t),
                          Lanes::splat(kMask | kMask << 16));
  }
};

// E2M1 codes, two a byte, which index a table of twice their value; pairs as for affine 4 bits.
struct Fp4Codes : CodeStream<4> {
  static constexpr int kPairDistance = 4, kCodeOffset = kFp4Offset;

  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    const Lanes::Table values = Lanes::load_table(kFp4Codes);
    Int v[4];
    span.template words<4>(block, 0, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // elements 8i + 0, 2, 4, 6 and 8i + 1, 3, 5, 7
      const Int even = Lanes::look_up(values, low_nibbles(v[i]));
      const Int odd = Lanes::look_up(values, high_nibbles(v[i]));
      const Int mask = Lanes::splat(0x00ff00ff);
      sink(0, 4 * i, Lanes::bit_and(even, mask));
      sink(0, 4 * i + 1, Lanes::bit_and(odd, mask));
      sink(0, 4 * i + 2, Lanes::shift_right_16<8>(even));
      sink(0, 4 * i + 3, Lanes::shift_right_16<8>(odd));
    }
  }
};

// 2^(e - 127): the exponent field is e; e = 0 is subnormal, e = 255 not a number.
inline Float e8m0(Int e) {
  const Int bits = Lanes::max(Lanes::shift_left_32(e, 23), Lanes::splat(0x00400000));
  const Int nan = Lanes::bit_and(Lanes::shift_left_32(Lanes::add(e, Lanes::splat(1)), 14),
                                 Lanes::splat(0x00400000));
  return Lanes::bits_to_float(Lanes::bit_or(bits, nan));
}
// E4M3 as f16 bits times 2^-8: the exponent biases are 7 and 15. S.1111.111 is not a number.
inline Float e4m3(Int v) {
  const Int magnitude = Lanes::bit_and(v, Lanes::splat(0x7f));
  const Int nan = Lanes::bit_and(Lanes::add(magnitude, Lanes::splat(1)), Lanes::splat(0x80));
  const Int sign = Lanes::shift_left_32(Lanes::bit_and(v, Lanes::splat(0x80)), 8);
  const Int bits = Lanes::shift_left_32(Lanes::bit_or(magnitude, nan), 7);
  return Lanes::mul(Lanes::low_f16(Lanes::bit_or(bits, sign)), Lanes::splat(256.0f));
}

struct MlxMxfp4 : Fp4Codes {
  static constexpr Terms kTerms = Terms::kScale;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int b = 0; b < blocks; ++b, out += kRows) {
      Lanes::store(Lanes::mul(e8m0(span.scale_u8(b)), Lanes::splat(0.5f)), out);
    }
  }
};

struct MlxNvfp4 : Fp4Codes {
  static constexpr Terms kTerms = Terms::kHalves;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int g = 0; g < 2 * blocks; ++g, out += kRows) {
      Lanes::store(Lanes::mul(e4m3(span.scale_u8(g)), Lanes::splat(0.5f)), out);
    }
  }
};

// E4M3 codes, one a byte. Sign, exponent and mantissa at their places in f32, the exponent's bias 7
// instead of 127: times 2^120 is the value, subnormals too.
struct MlxMxfp8 : CodeStream<8> {
  static constexpr Terms kTerms = Terms::kFloat;
  static constexpr int kPairDistance = 2, kCodeOffset = 0;  // for staging, which it does not use

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int b = 0; b < blocks; ++b, out += kRows) Lanes::store(e8m0(span.scale_u8(b)), out);
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[8];
    span.template words<8>(block, 0, v);
    // Adding 1 to a magnitude carries into the sign's bit for the one that is not a number. Most
    // blocks have none, and looking at each code would cost as much as decoding it.
    Int carry = Lanes::splat(0);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const Int magnitudes = Lanes::bit_and(v[i], Lanes::splat(0x7f7f7f7f));
      carry = Lanes::bit_or(carry, Lanes::add(magnitudes, Lanes::splat(0x01010101)));
    }
    if (Lanes::any(Lanes::bit_and(carry, Lanes::splat(static_cast<int32_t>(0x80808080u))))) {
      emit(
          v, [&](int element, Int bits) __attribute__((always_inline)) {
            const Int largest = Lanes::splat(0x07f00000);
            const Int nan = Lanes::ones_where_equal(Lanes::bit_and(bits, largest), largest);
            sink(0, element, value(Lanes::bit_or(bits, nan)));
          });
    } else {
      emit(
          v, [&](int element, Int bits)
                 __attribute__((always_inline)) { sink(0, element, value(bits)); });
    }
  }

 private:
  static Float value(Int bits) {
    return Lanes::mul(Lanes::bits_to_float(bits), Lanes::splat(0x1p120f));
  }
  // sink(element, its code at its place in f32).
  template <class Sink>
  static void emit(const Int* v, const Sink& sink) {
    const Int places = Lanes::splat(static_cast<int32_t>(0x87f00000u));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Int top = j == 3 ? v[i] : Lanes::shift_left_32(v[i], 24 - 8 * j);
        sink(4 * i + j, Lanes::bit_and(Lanes::shift_right_signed_32(top, 4), places));
      }
    }
  }
};
