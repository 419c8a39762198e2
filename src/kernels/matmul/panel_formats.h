// SPDX-License-Identifier: Apache-2.0
// How the blocks of each GGUF format become vectors of 16-bit codes and of f32 scales, kRows weight
// rows side by side. Written over Lanes (lanes_*.h) and the spans of panel_source.h; included
// inside the same anonymous namespace. panel_arrays.h has the formats with a scale array.
//
// Besides its bytes (panel_source.h) a codec names
//   kStepBlocks     blocks of 32 elements that one codes() call decodes
//   kTerms          what the scales of a block are
//   kPairDistance   elements between the two codes of a pair (activations.h)
//   kCodeOffset     a code c means c - kCodeOffset
//   scales(span, blocks, out)      out: f32 [blocks][terms][kRows]
//   codes(span, block, sink)       sink(block in step, pair, vector): the vector holds, per row,
//                                  the two codes that meet pair `pair` of x
// A codec of floats has no pairs: its sink(block in step, element, vector) takes values.
#pragma once

enum class Terms {
  kScale,       // w = scale * code
  kScaleBias,   // w = scale * code + bias
  kHalves,      // elements 0..15 and 16..31: w = scale[half] * code
  kHalvesBias,  // w = scale[half] * code + bias[half]; the terms are both scales, then both biases
  kFloat,       // w = scale * value, and the values are floats: see panel_float.h
};
constexpr int count_of(Terms terms) {
  return terms == Terms::kScale || terms == Terms::kFloat ? 1 : terms == Terms::kHalvesBias ? 4 : 2;
}

// Four codes in the bytes of each lane: elements 4 * word .. 4 * word + 3 of the block.
template <class Sink>
inline void emit_bytes(int block, int word, Int bytes, const Sink& sink) {
  sink(block, 2 * word, Lanes::bit_and(bytes, Lanes::splat(0x00ff00ff)));
  sink(block, 2 * word + 1, Lanes::shift_right_16<8>(bytes));
}
inline Int low_nibbles(Int v) { return Lanes::bit_and(v, Lanes::splat(0x0f0f0f0f)); }
inline Int high_nibbles(Int v) { return low_nibbles(Lanes::shift_right_16<4>(v)); }

inline Float half_bits(Int v, bool high) {
  return Lanes::low_f16(high ? Lanes::shift_right_32(v, 16) : v);
}
inline Int bits_of(Int v, int shift, int mask) {
  return Lanes::bit_and(Lanes::shift_right_32(v, shift), Lanes::splat(mask));
}
// Bit 0 of each byte of v >> shift, moved to bit `to`.
template <int kTo>
inline Int flag_of(Int v, int shift) {
  const Int moved =
      shift >= kTo ? Lanes::shift_right_32(v, shift - kTo) : Lanes::shift_left_32(v, kTo - shift);
  return Lanes::bit_and(moved, Lanes::splat(0x01010101 << kTo));
}

// Blocks of 32 elements over 16 bytes of nibbles: element i < 16 is the low nibble of byte i,
// i >= 16 the high nibble of byte i - 16.
template <class Block>
struct NibbleBlock {
  static constexpr int kUnitElements = 32, kStepBlocks = 1, kPairDistance = 2;
  static constexpr int kUnitBytes = sizeof(Block);
  static constexpr int kWords = kUnitBytes / 4, kWordsAt = kUnitBytes % 4, kSideAt = 0;
  static constexpr int kNibbleWord = kWords - 4;  // what precedes them: scales, fifth bits
};

// The f16 scale of each block, beside the words.
template <class Span>
inline void side_scales(const Span& span, int blocks, float* out) {
  for (int b = 0; b < blocks; ++b) Lanes::store(span.side_f16(b), out + b * kRows);
}
// f16 scale and f16 minimum in the first word of each block.
template <class Span>
inline void word_scales(const Span& span, int blocks, float* out) {
  for (int b = 0; b < blocks; ++b, out += 2 * kRows) {
    Int word;
    span.template words<1>(b, 0, &word);
    Lanes::store(half_bits(word, false), out);
    Lanes::store(half_bits(word, true), out + kRows);
  }
}

template <class Block>
struct PlainNibbles : NibbleBlock<Block> {
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    const Int mask = Lanes::splat(0x000f000f);
    Int v[4];
    span.template words<4>(block, NibbleBlock<Block>::kNibbleWord, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      sink(0, 2 * i, Lanes::bit_and(v[i], mask));
      sink(0, 2 * i + 1, Lanes::bit_and(Lanes::shift_right_16<8>(v[i]), mask));
      sink(0, 8 + 2 * i, Lanes::bit_and(Lanes::shift_right_16<4>(v[i]), mask));
      sink(0, 8 + 2 * i + 1, Lanes::shift_right_16<12>(v[i]));
    }
  }
};

struct Q4_0 : PlainNibbles<quant::BlockQ4_0> {
  static constexpr Terms kTerms = Terms::kScale;
  static constexpr int kCodeOffset = 8;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    side_scales(span, blocks, out);
  }
};

struct Q4_1 : PlainNibbles<quant::BlockQ4_1> {
  static constexpr Terms kTerms = Terms::kScaleBias;
  static constexpr int kCodeOffset = 0;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    word_scales(span, blocks, out);
  }
};

// A word of fifth bits, bit i for element i, before the nibbles.
template <class Block>
struct FiveBits : NibbleBlock<Block> {
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    constexpr int kHighWord = NibbleBlock<Block>::kNibbleWord - 1;
    Int v[5];
    span.template words<5>(block, kHighWord, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Int low = Lanes::spread_fifth_bits(v[0], 4 * i);
      const Int high = Lanes::spread_fifth_bits(v[0], 16 + 4 * i);
      emit_bytes(0, i, Lanes::bit_or(low_nibbles(v[1 + i]), low), sink);
      emit_bytes(0, 4 + i, Lanes::bit_or(high_nibbles(v[1 + i]), high), sink);
    }
  }
};

struct Q5_0 : FiveBits<quant::BlockQ5_0> {
  static constexpr Terms kTerms = Terms::kScale;
  static constexpr int kCodeOffset = 16;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    side_scales(span, blocks, out);
  }
};

struct Q5_1 : FiveBits<quant::BlockQ5_1> {
  static constexpr Terms kTerms = Terms::kScaleBias;
  static constexpr int kCodeOffset = 0;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    word_scales(span, blocks, out);
  }
};

// Nibbles that index a table of 16 bytes.
template <class Block>
struct TableNibbles : NibbleBlock<Block> {
  template <class Span, class Sink>
  static void look_up(const Span& span, int block, const uint8_t* table, const Sink& sink) {
    const Lanes::Table values = Lanes::load_table(table);
    Int v[4];
    span.template words<4>(block, NibbleBlock<Block>::kNibbleWord, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      emit_bytes(0, i, Lanes::look_up(values, low_nibbles(v[i])), sink);
      emit_bytes(0, 4 + i, Lanes::look_up(values, high_nibbles(v[i])), sink);
    }
  }
};

struct IQ4_NL : TableNibbles<quant::BlockIQ4_NL> {
  static constexpr Terms kTerms = Terms::kScale;
  static constexpr int kCodeOffset = kIq4Offset;
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    side_scales(span, blocks, out);
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    look_up(span, block, kIq4Codes, sink);
  }
};

struct MXFP4 : TableNibbles<quant::BlockMXFP4> {
  static constexpr Terms kTerms = Terms::kScale;
  static constexpr int kCodeOffset = kFp4Offset;
  // 2^(e - 128): the exponent field is e - 1; the two smallest are subnormal.
  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    for (int b = 0; b < blocks; ++b, out += kRows) {
      const Int e = span.side_u8(b);
      const Int normal = Lanes::shift_left_32(Lanes::add(e, Lanes::splat(-1)), 23);
      const Int subnormal = Lanes::shift_left_32(Lanes::add(e, Lanes::splat(1)), 21);
      Lanes::store(Lanes::bits_to_float(Lanes::max(normal, subnormal)), out);
    }
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    look_up(span, block, kFp4Codes, sink);
  }
};

struct Q8_0 {
  static constexpr int kUnitElements = 32, kStepBlocks = 1, kPairDistance = 2, kCodeOffset = 0;
  static constexpr int kUnitBytes = sizeof(quant::BlockQ8_0), kWords = 8, kWordsAt = 2, kSideAt = 0;
  static constexpr Terms kTerms = Terms::kScale;

  template <class Span>
  static void scales(const Span& span, int blocks, float* out) {
    side_scales(span, blocks, out);
  }
  template <class Span, class Sink>
  static void codes(const Span& span, int block, const Sink& sink) {
    Int v[8];
    span.template words<8>(block, 0, v);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      sink(0, 2 * i, Lanes::shift_right_signed_16<8>(Lanes::shift_left_16<8>(v[i])));
      sink(0, 2 * i + 1, Lanes::shift_right_signed_16<8>(v[i]));
    }
  }
};
