// SPDX-License-Identifier: Apache-2.0
// Codecs of the 256-element formats (panel_formats.h says what a codec is). Included inside the
// same anonymous namespace.
#pragma once

template <class Block>
struct SuperBlock {
  static constexpr int kUnitElements = 256, kPairDistance = 2;
  static constexpr int kUnitBytes = sizeof(Block);
  static constexpr int kWords = kUnitBytes / 4, kWordsAt = 0, kSideAt = kWords * 4;
};

// Q4_K and Q5_K: 6-bit scales and minima of eight blocks, packed into words 1 to 3. Lanes are rows,
// so the packing of k_scale_min() undoes itself for all rows at once.
template <class Block>
struct SixBitScales : SuperBlock<Block> {
  static constexpr Terms kTerms = Terms::kScaleBias;
  static constexpr int kCodeOffset = 0;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int super = 0; super < blocks / 8; ++super, out += 16 * kRows) {
      Int head[4];  // d and dmin; scales[0..3]; scales[4..7]; scales[8..11]
      span.template words<4>(super, 0, head);
      const Float d = half_bits(head[0], false);
      const Float minus_dmin = Lanes::negate(half_bits(head[0], true));
      const auto put = [&](int sub, Int scale, Int min) {
        Lanes::store(Lanes::mul(d, Lanes::to_float(scale)), out + sub * 2 * kRows);
        Lanes::store(Lanes::mul(minus_dmin, Lanes::to_float(min)), out + (sub * 2 + 1) * kRows);
      };
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        put(j, bits_of(head[1], 8 * j, 63), bits_of(head[2], 8 * j, 63));
        const auto join = [&](Int low, Int high) {
          return Lanes::bit_or(low, Lanes::shift_left_32(bits_of(high, 8 * j + 6, 3), 4));
        };
        put(4 + j, join(bits_of(head[3], 8 * j, 15), head[1]),
            join(bits_of(head[3], 8 * j + 4, 15), head[2]));
      }
    }
  }
};

struct Q4_K : SixBitScales<quant::BlockQ4_K> {
  static constexpr int kStepBlocks = 2;
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    const Int mask = Lanes::splat(0x000f000f);
    Int v[8];
    span.template words<8>(block / 8, 4 + block % 8 * 4, v);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      sink(0, 2 * i, Lanes::bit_and(v[i], mask));
      sink(0, 2 * i + 1, Lanes::bit_and(Lanes::shift_right_16<8>(v[i]), mask));
      sink(1, 2 * i, Lanes::bit_and(Lanes::shift_right_16<4>(v[i]), mask));
      sink(1, 2 * i + 1, Lanes::shift_right_16<12>(v[i]));
    }
  }
};

// As Q4_K; bit j of byte l of the words 4 to 11 is the fifth bit of element l of block j.
struct Q5_K : SixBitScales<quant::BlockQ5_K> {
  static constexpr int kStepBlocks = 2;
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[8], h[8];
    span.template words<8>(block / 8, 12 + block % 8 * 4, v);
    span.template words<8>(block / 8, 4, h);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const Int low = flag_of<4>(h[i], block % 8), high = flag_of<4>(h[i], block % 8 + 1);
      emit_bytes(0, i, Lanes::bit_or(low_nibbles(v[i]), low), sink);
      emit_bytes(1, i, Lanes::bit_or(high_nibbles(v[i]), high), sink);
    }
  }
};

// Pairs of bits t of 32 bytes are the codes of block t of 4.
inline Int bit_pairs(Int v, int t) {
  return Lanes::bit_and(Lanes::shift_right_32(v, 2 * t), Lanes::splat(0x03030303));
}

// Words: 16 bytes of 4-bit scales and minima, 64 bytes of codes, d and dmin.
struct Q2_K : SuperBlock<quant::BlockQ2_K> {
  static constexpr int kStepBlocks = 4, kCodeOffset = 0;
  static constexpr Terms kTerms = Terms::kHalvesBias;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int super = 0; super < blocks / 8; ++super) {
      Int bytes[4], last;
      span.template words<4>(super, 0, bytes);
      span.template words<1>(super, 20, &last);
      const Float d = half_bits(last, false), minus_dmin = Lanes::negate(half_bits(last, true));
      for (int b = 0; b < 8; ++b, out += 4 * kRows) {
        for (int half = 0; half < 2; ++half) {
          const Int word = bytes[b / 2];
          const int shift = b % 2 * 16 + half * 8;
          Lanes::store(Lanes::mul(d, Lanes::to_float(bits_of(word, shift, 15))),
                       out + half * kRows);
          Lanes::store(Lanes::mul(minus_dmin, Lanes::to_float(bits_of(word, shift + 4, 15))),
                       out + (2 + half) * kRows);
        }
      }
    }
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[8];
    span.template words<8>(block / 8, 4 + block % 8 * 2, v);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) emit_bytes(t, i, bit_pairs(v[i], t), sink);
    }
  }
};

// Words: 32 bytes of third bits (bit b of byte l: element l of block b), 64 bytes of low bits, 12
// of 6-bit scales.
struct Q3_K : SuperBlock<quant::BlockQ3_K> {
  static constexpr int kStepBlocks = 4, kCodeOffset = 4;
  static constexpr Terms kTerms = Terms::kHalves;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int super = 0; super < blocks / 8; ++super) {
      Int packed[3];
      span.template words<3>(super, 24, packed);
      const Float d = span.side_f16(super);
      for (int j = 0; j < 16; ++j, out += kRows) {
        const Int low = bits_of(packed[j % 8 / 4], j % 4 * 8 + j / 8 * 4, 15);
        const Int high = bits_of(packed[2], j % 4 * 8 + j / 4 * 2, 3);
        const Int scale = Lanes::bit_or(low, Lanes::shift_left_32(high, 4));
        Lanes::store(Lanes::mul(d, Lanes::to_float(Lanes::add(scale, Lanes::splat(-32)))), out);
      }
    }
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[8], h[8];
    span.template words<8>(block / 8, 8 + block % 8 * 2, v);
    span.template words<8>(block / 8, 0, h);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        emit_bytes(t, i, Lanes::bit_or(bit_pairs(v[i], t), flag_of<2>(h[i], block % 8 + t)), sink);
      }
    }
  }
};

struct Q6_K : SuperBlock<quant::BlockQ6_K> {
  static constexpr int kStepBlocks = 4, kCodeOffset = 32;
  static constexpr int kLeadWords = quant::PanelLayout::kQ6_KLeadWords;
  static constexpr Terms kTerms = Terms::kHalves;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int super = 0; super < blocks / 8; ++super) {
      Int group[4];  // four signed bytes a lane
      span.template words<4>(super, 48, group);
      const Float d = span.side_f16(super);
#pragma GCC unroll 16
      for (int g = 0; g < 16; ++g, out += kRows) {
        const Int scale =
            Lanes::shift_right_signed_32(Lanes::shift_left_32(group[g / 4], 24 - g % 4 * 8), 24);
        Lanes::store(Lanes::mul(d, Lanes::to_float(scale)), out);
      }
    }
  }
  // Per 128 elements: 64 bytes whose low nibbles belong to blocks 0 and 1, the high ones to 2 and
  // 3, and 32 bytes whose bits 2t, 2t + 1 belong to block t.
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    const int half = block % 8 / 4;
    Int a[8], b[8], h[8];
    span.template words<8>(block / 8, 16 * half, a);
    span.template words<8>(block / 8, 16 * half + 8, b);
    span.template words<8>(block / 8, 32 + 8 * half, h);
    const Int top = Lanes::splat(0x30303030);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const auto join = [&](Int nibbles, Int bits) {
        return Lanes::bit_or(nibbles, Lanes::bit_and(bits, top));
      };
      emit_bytes(0, i, join(low_nibbles(a[i]), Lanes::shift_left_16<4>(h[i])), sink);
      emit_bytes(1, i, join(low_nibbles(b[i]), Lanes::shift_left_16<2>(h[i])), sink);
      emit_bytes(2, i, join(high_nibbles(a[i]), h[i]), sink);
      emit_bytes(3, i, join(high_nibbles(b[i]), Lanes::shift_right_16<2>(h[i])), sink);
    }
  }
};

// Words: d and the high bits of eight 6-bit scales, their low nibbles, 128 bytes of nibbles that
// index a table.
struct IQ4_XS : SuperBlock<quant::BlockIQ4_XS> {
  static constexpr int kStepBlocks = 1, kCodeOffset = kIq4Offset;
  static constexpr Terms kTerms = Terms::kScale;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int super = 0; super < blocks / 8; ++super) {
      Int head[2];
      span.template words<2>(super, 0, head);
      const Float d = half_bits(head[0], false);
      for (int b = 0; b < 8; ++b, out += kRows) {
        const Int high = Lanes::shift_left_32(bits_of(head[0], 16 + 2 * b, 3), 4);
        const Int scale = Lanes::bit_or(bits_of(head[1], 4 * b, 15), high);
        Lanes::store(Lanes::mul(d, Lanes::to_float(Lanes::add(scale, Lanes::splat(-32)))), out);
      }
    }
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    const Lanes::Table values = Lanes::load_table(kIq4Codes);
    Int v[4];
    span.template words<4>(block / 8, 2 + block % 8 * 4, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      emit_bytes(0, i, Lanes::look_up(values, low_nibbles(v[i])), sink);
      emit_bytes(0, 4 + i, Lanes::look_up(values, high_nibbles(v[i])), sink);
    }
  }
};
