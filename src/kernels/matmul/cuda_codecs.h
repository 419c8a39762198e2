// SPDX-License-Identifier: Apache-2.0
// How blocks of each format become operand a of matrix units: codes as integers, which bf16 holds
// exactly, and f32 scales, which multiply sums over a block (or over each half of it). The formats
// of 256 elements are in cuda_codecs_k.h. A codec names
//   Order      which 8 elements of a block of 32 a lane has, and in which pairs
//   kHalves    2: elements 0..15 and 16..31 have scales of their own; 1: a block has one
//   kBias      w = scale * code + bias; else w = scale * code
//   codes(span, block, row, t, pairs)          four pairs of bf16
//   scales(span, block, row, scale, bias)      kHalves of each
//   kTable     they are worth a table in threadgroup memory
// for block `block` (0..7) of a span of a panel and lane t of 4 of that row.
#pragma once
#include "kernels/dequantize/gpu_scales.h"
#include "kernels/matmul/cuda_mma.h"

namespace mlxn {
namespace gpu {
namespace panels {

// A row of a panel. The two of a pair are read in one access.
struct Row {
  uint pair, odd;
  GPU_FN uint number() const { return 2 * pair + odd; }
};

// A span of a panel in threadgroup memory.
struct Span {
  const uchar* head;
  const uchar* words;
  uint biases_at;    // from the head; 0: biases are zero
  uint group_shift;  // blocks per scale of the array, as a power of two
  uint scale_type;

  GPU_FN uint2 words_of_pair(uint i, uint pair) const {
    return reinterpret_cast<const uint2*>(words)[8 * i + pair];
  }
  GPU_FN uint word(uint i, Row row) const {
    const uint2 two = words_of_pair(i, row.pair);
    return row.odd == 0 ? two.x : two.y;
  }
  GPU_FN float side_half(uint unit, Row row) const {
    const float2 two = unpack2(reinterpret_cast<const uint*>(head)[8 * unit + row.pair], half());
    return row.odd == 0 ? two.x : two.y;
  }
};

// Elements 4t .. 4t + 3 and 16 + 4t .. 16 + 4t + 3: what a word of nibbles holds in GGUF.
struct SplitOrder {
  static GPU_FN uint start(uint t, uint part) { return 4 * t + 16 * part; }
  static constexpr __device__ int first(int pair) { return pair / 2 * 4 + pair % 2; }
  static constexpr __device__ int second(int pair) { return first(pair) + 2; }
};
// Elements 8t .. 8t + 7, as MLX packs them.
struct RunOrder {
  static GPU_FN uint start(uint t, uint part) { return 8 * t + 4 * part; }
  static constexpr __device__ int first(int pair) { return pair; }
  static constexpr __device__ int second(int pair) { return pair + 4; }
};

// ---- pairs of codes in 16-bit halves, as bf16 ----

GPU_FN constexpr uint both(uint half_word) { return half_word * 0x10001u; }

// (v & mask) | bits in one instruction, which takes one constant at most from the program.
GPU_FN uint and_or(uint v, uint mask, uint bits) {
  uint in_register, result;
  asm("mov.b32 %0, %1;" : "=r"(in_register) : "r"(bits));
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(result) : "r"(v), "r"(mask), "r"(in_register));
  return result;
}

// Codes below 128 in the bits `mask` of each half, less kOffset. 0x4300 is 128, whose mantissa
// counts in ones; bf16 holds integers up to 256. Codecs with biases leave the 128 where it is.
enum { kRaw = -128 };
template <int kOffset>
GPU_FN uint small_codes(uint word, uint mask) {
  const uint raw = and_or(word, both(mask), both(0x4300));
  return kOffset == kRaw ? raw : sub_bf16(raw, both(0x4300 + kOffset));
}
// The bias beside codes less kOffset.
template <int kOffset>
GPU_FN float bias_beside(float scale, float bias) {
  return fmaf(float(kOffset), scale, bias);
}
// Bytes of two's complement in the low byte of each half; 0x4380 is 256.
GPU_FN uint signed_bytes(uint word) {
  return sub_bf16(and_or(word, both(0x007f), both(0x4300)),
                  and_or(word, both(0x0080), both(0x4300)));
}
// Unsigned bytes less 128.
GPU_FN uint unsigned_bytes(uint word) {
  return sub_bf16(and_or(word, both(0x007f), both(0x4300)),
                  and_or(~word, both(0x0080), both(0x4300)));
}

// Four small codes in the bits `mask` of the bytes of a word, in SplitOrder.
template <int kOffset>
GPU_FN void split_bytes(uint word, uint mask, uint* pairs) {
  pairs[0] = small_codes<kOffset>(word, mask);
  pairs[1] = small_codes<kOffset>(word >> 8, mask);
}
GPU_FN void split_signed_bytes(uint word, uint* pairs) {
  pairs[0] = signed_bytes(word);
  pairs[1] = signed_bytes(word >> 8);
}
// Two words of pairs of the nibbles of a word of GGUF.
template <int kOffset>
GPU_FN void split_nibbles(uint word, uint* pairs) {
  split_bytes<kOffset>(word, 15, pairs);
  split_bytes<kOffset>(word >> 4, 15, pairs + 2);
}

// Nibble 0..3 of `nibbles` selects bytes of a table of 16.
struct ByteTable {
  uint words[4];
  GPU_FN uint look_up(uint nibbles) const {
    const uint low = __byte_perm(words[0], words[1], nibbles & 0x7777);
    const uint high = __byte_perm(words[2], words[3], nibbles & 0x7777);
    return __byte_perm(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
  }
};
// IQ4: -127 -104 -83 -65  -49 -35 -22 -10  1 13 25 38  53 69 89 113.
GPU_FN ByteTable iq4_table() { return {{0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u}}; }

// Nibbles of a word of GGUF through a table.
GPU_FN void split_looked_up(const ByteTable& table, uint word, uint* pairs) {
  const uint a = table.look_up(word & 0xffff), b = table.look_up(word >> 16);
  split_signed_bytes(__byte_perm(a, b, 0x6420), pairs);
  split_signed_bytes(__byte_perm(a, b, 0x7531), pairs + 2);
}

// E2M1 in bits kAt to kAt + 3 of each half. A bf16 has a wider exponent and mantissa: sign,
// exponent and mantissa go to their places, and the value times 2^126, or 2^127 for twice as much.
template <int kAt, bool kTwice = false>
GPU_FN uint e2m1_codes(uint word) {
  const uint sign = kAt == 12 ? word : word << (12 - kAt);
  const uint rest = kAt < 6 ? word << (6 - kAt) : word >> (kAt - 6);
  return mul_bf16((sign & both(0x8000)) | (rest & both(0x01c0)), both(kTwice ? 0x7f00 : 0x7e80));
}

// The four bits of `bits` from `shift` on, one in each byte at bit 4.
GPU_FN uint spread_fifth_bits(uint bits, uint shift) {
  const uint four = (bits >> shift) & 15;
  return (four * 0x00204081u & 0x01010101u) << 4;
}
// Bit `place` of each byte, moved to bit kTo.
template <int kTo>
GPU_FN uint flag_of(uint word, uint place) {
  return (word >> place & 0x01010101u) << kTo;
}

// ---- GGUF blocks of 32 ----

template <int kTheWords>
struct Block32 {
  typedef SplitOrder Order;
  static constexpr int kHalves = 1, kWords = kTheWords;
  static constexpr bool kTable = false;
};

struct Q4_0 : Block32<4> {
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    split_nibbles<8>(s.word(kWords * block + t, row), pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = s.side_half(block, row);
  }
};

// f16 scale and minimum in the first word, of raw codes.
GPU_FN void word_scales(uint word, float* scale, float* bias) {
  const float2 both_of = unpack2(word, half());
  *scale = both_of.x;
  *bias = bias_beside<kRaw>(both_of.x, both_of.y);
}

struct Q4_1 : Block32<5> {
  static constexpr bool kBias = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    split_nibbles<kRaw>(s.word(kWords * block + 1 + t, row), pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    word_scales(s.word(kWords * block, row), scale, bias);
  }
};

// Nibbles v and, in `bits`, the fifth bits of 32 elements.
template <int kOffset>
GPU_FN void five_bit_codes(uint v, uint bits, uint t, uint* pairs) {
  const uint low = (v & 0x0f0f0f0fu) | spread_fifth_bits(bits, 4 * t);
  const uint high = (v >> 4 & 0x0f0f0f0fu) | spread_fifth_bits(bits, 16 + 4 * t);
  split_bytes<kOffset>(low, 31, pairs);
  split_bytes<kOffset>(high, 31, pairs + 2);
}

struct Q5_0 : Block32<5> {
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    five_bit_codes<16>(s.word(kWords * block + 1 + t, row), s.word(kWords * block, row), t, pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = s.side_half(block, row);
  }
};

struct Q5_1 : Block32<6> {
  static constexpr bool kBias = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    five_bit_codes<kRaw>(s.word(kWords * block + 2 + t, row), s.word(kWords * block + 1, row), t,
                         pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    word_scales(s.word(kWords * block, row), scale, bias);
  }
};

struct Q8_0 : Block32<8> {
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    split_signed_bytes(s.word(kWords * block + t, row), pairs);
    split_signed_bytes(s.word(kWords * block + 4 + t, row), pairs + 2);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = s.side_half(block, row);
  }
};

struct IQ4_NL : Block32<4> {
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    split_looked_up(iq4_table(), s.word(kWords * block + t, row), pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = s.side_half(block, row);
  }
};

struct MXFP4 : Block32<4> {
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    const uint v = s.word(kWords * block + t, row);
    pairs[0] = e2m1_codes<0, true>(v);
    pairs[1] = e2m1_codes<8, true>(v);
    pairs[2] = e2m1_codes<4, true>(v);
    pairs[3] = e2m1_codes<12, true>(v);
  }
  // 2^(e - 128), as codes are twice theirs: finite for every e.
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    const uint e = s.head[16 * block + row.number()];
    scale[0] = as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }
};

// ---- MLX: codes and scales in arrays of their own ----

// Those of a pair of rows under scale `group` of an array of T.
template <class T>
GPU_FN float2 scale_pair(const uchar* scales, uint group, uint pair, T) {
  return unpack2(reinterpret_cast<const uint*>(scales)[8 * group + pair], T());
}
GPU_FN float2 scale_pair(const uchar* scales, uint group, uint pair, float) {
  return reinterpret_cast<const float2*>(scales)[8 * group + pair];
}
// f(T()) for the type of the scales.
template <class F>
GPU_FN void with_scale_type(const Span& s, const F& f) {
  if (s.scale_type == kGpuMatmulBF16) {
    f(bfloat());
  } else if (s.scale_type == kGpuMatmulF16) {
    f(half());
  } else {
    f(float());
  }
}

// Codes of kBits bits in one stream; lane t has the 8 * kBits bits from 8 * kBits * t on. codes()
// are less kLess, which the bias makes up for.
template <int kBits, int kTheLess = kRaw>
struct AffineBits {
  typedef RunOrder Order;
  static constexpr int kHalves = 1, kWords = kBits;
  static constexpr bool kBias = true, kTable = true;
  static constexpr int kLess = kTheLess;

  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    const uint at = 8 * kBits * t;
    const uint next = min(at / 32 + 1, uint(kBits) - 1);
    const uint low = s.word(kWords * block + at / 32, row);
    const uint high = s.word(kWords * block + next, row);
    const uint run = __funnelshift_r(low, high, at % 32);  // its first 32 bits
    const uint second = kBits < 5 ? run >> (4 * kBits)
                                  : uint((ulong(high) << 32 | low) >> (at % 32) >> (4 * kBits));
    // From bits 0 and 8 on of both halves of the run.
    const uint front = __byte_perm(run, second, 0x5410);
    const uint back = __byte_perm(run, second, 0x6521);
    UNROLL for (int j = 0; j < 4; j++) {
      const bool is_front = kBits * (j + 1) <= 16;
      const uint v = is_front ? front >> (kBits * j) : back >> (kBits * j - 8);
      pairs[j] = small_codes<kLess>(v, (1u << kBits) - 1);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    with_scale_type(s, [&](auto type) {
      float2 scales, biases;
      pair_scales(s, block, row.pair, type, &scales, &biases);
      scale[0] = row.odd == 0 ? scales.x : scales.y;
      bias[0] = row.odd == 0 ? biases.x : biases.y;
    });
  }
  // Of a pair of rows; T is the type of the scales.
  template <class T>
  static GPU_FN void pair_scales(const Span& s, uint block, uint pair, T type, float2* scale,
                                 float2* bias) {
    const uint group = block >> s.group_shift;
    *scale = scale_pair(s.head, group, pair, type);
    *bias = make_float2(0.0f, 0.0f);
    if (s.biases_at != 0) *bias = scale_pair(s.head + s.biases_at, group, pair, type);
    bias->x = bias_beside<kLess>(scale->x, bias->x);
    bias->y = bias_beside<kLess>(scale->y, bias->y);
  }
};

// Four bits are nibbles: a pair is one mask away.
struct Affine4 : AffineBits<4> {
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    const uint v = s.word(kWords * block + t, row);
    UNROLL for (int j = 0; j < 4; j++) pairs[j] = small_codes<kRaw>(v >> (4 * j), 15);
  }
};

// Codes less 128, which the bias makes up for.
struct Affine8 : AffineBits<8, 128> {
  typedef SplitOrder Order;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(kWords * block + 4 * part + t, row);
      pairs[2 * part] = unsigned_bytes(v);
      pairs[2 * part + 1] = unsigned_bytes(v >> 8);
    }
  }
};

struct MlxMxfp4 {
  typedef RunOrder Order;
  static constexpr int kHalves = 1, kWords = 4;
  static constexpr bool kBias = false, kTable = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    const uint v = s.word(kWords * block + t, row);
    pairs[0] = e2m1_codes<0>(v);
    pairs[1] = e2m1_codes<4>(v);
    pairs[2] = e2m1_codes<8>(v);
    pairs[3] = e2m1_codes<12>(v);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = e8m0_value(s.head[16 * block + row.number()]);
  }
};

struct MlxNvfp4 {
  typedef SplitOrder Order;
  static constexpr int kHalves = 2, kWords = 4;
  static constexpr bool kBias = false, kTable = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(kWords * block + 2 * part + t / 2, row);
      const uint bytes = __byte_perm(v, 0, t % 2 == 0 ? 0x4140 : 0x4342);  // one in each half
      pairs[2 * part] = e2m1_codes<0>(bytes);
      pairs[2 * part + 1] = e2m1_codes<4>(bytes);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    UNROLL for (int half_block = 0; half_block < 2; half_block++) {
      scale[half_block] = e4m3_value(s.head[16 * (2 * block + half_block) + row.number()]);
    }
  }
};

// E4M3 is a bf16 with a narrower exponent: sign, exponent and mantissa at their places, times
// 2^120. A code of 127 is not a number, nor then is anything its row of a block gives.
struct MlxMxfp8 {
  typedef SplitOrder Order;
  static constexpr int kHalves = 1, kWords = 8;
  static constexpr bool kBias = false, kTable = false;
  // The even bytes of a word, shifted left by 4, and by 8.
  static GPU_FN uint values(uint by_4, uint by_8) {
    return mul_bf16((by_4 & both(0x07f0)) | (by_8 & both(0x8000)), both(0x7b80));
  }
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    uint carries = 0;
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(kWords * block + 4 * part + t, row);
      pairs[2 * part] = values(v << 4, v << 8);
      pairs[2 * part + 1] = values(v >> 4, v);
      carries |= (v & 0x7f7f7f7fu) + 0x01010101u;
    }
    if ((carries & 0x80808080u) != 0) pairs[0] = both(0x7fc0);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    scale[0] = e8m0_value(s.head[16 * block + row.number()]);
  }
};

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
