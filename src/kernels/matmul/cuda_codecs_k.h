// SPDX-License-Identifier: Apache-2.0
// Codecs of the GGUF formats of 256 elements; a block of 256 is a span. quant/README.md has the
// layouts, cuda_codecs.h what a codec is.
#pragma once
#include "kernels/matmul/cuda_codecs.h"

namespace mlxn {
namespace gpu {
namespace panels {

GPU_FN uint bits_at(uint word, uint shift, uint mask) { return (word >> shift) & mask; }

template <int kTheWords>
struct Block256 {
  typedef SplitOrder Order;
  static constexpr int kWords = kTheWords;
  static constexpr bool kTable = true;
};

// a * byte i of v, rounded once: 0x4b000000 is 2^23, whose mantissa counts in ones.
GPU_FN float times_byte(float a, uint v, uint i) {
  return fmaf(a, as_float(__byte_perm(v, 0x4b000000u, 0x7540 | i)), a * -0x1p23f);
}

// Q4_K, Q5_K: d and dmin in word 0, eight 6-bit scales and minima in words 1 to 3; of raw codes.
GPU_FN void six_bit_scales(const Span& s, uint block, Row row, float* scale, float* bias) {
  const float2 d = unpack2(s.word(0, row), half());
  const uint w1 = s.word(1, row), w2 = s.word(2, row), w3 = s.word(3, row);
  const bool first = block / 4 == 0;  // four blocks at a time
  const uint steps = first ? w1 & 0x3f3f3f3fu : (w3 & 0x0f0f0f0fu) | (w1 >> 2 & 0x30303030u);
  const uint min_steps =
      first ? w2 & 0x3f3f3f3fu : (w3 >> 4 & 0x0f0f0f0fu) | (w2 >> 2 & 0x30303030u);
  scale[0] = times_byte(d.x, steps, block % 4);
  bias[0] = bias_beside<kRaw>(scale[0], times_byte(-d.y, min_steps, block % 4));
}

// The same of blocks 2t and 2t + 1 and of a pair of rows, four scales or minima in a word: byte
// 2r + b is of row r and block 2t + b.
GPU_FN void six_bit_scales_of_two(const Span& s, uint t, uint pair, float (*scale)[2][1],
                                  float (*bias)[2][1]) {
  const bool first = t / 2 == 0;
  const uint halves = t % 2 == 0 ? 0x5410 : 0x7632, shift = first ? 0 : 2;
  const uint own = first ? 0x3f3f3f3fu : 0x30303030u, low = first ? 0 : 0x0f0f0f0fu;
  uint words[4];
  float2 d[2];
  UNROLL for (uint i = 0; i < 4; i++) {
    const uint2 two = s.words_of_pair(i, pair);
    words[i] = __byte_perm(two.x, two.y, halves);
    if (i == 0) d[0] = unpack2(two.x, half()), d[1] = unpack2(two.y, half());
  }
  const uint steps = (words[1] >> shift & own) | (words[3] & low);
  const uint min_steps = (words[2] >> shift & own) | (words[3] >> 4 & low);
  UNROLL for (uint r = 0; r < 2; r++) {
    UNROLL for (uint b = 0; b < 2; b++) {
      scale[b][r][0] = times_byte(d[r].x, steps, 2 * r + b);
      bias[b][r][0] = bias_beside<kRaw>(scale[b][r][0], times_byte(-d[r].y, min_steps, 2 * r + b));
    }
  }
}

struct Q4_K : Block256<36> {
  static constexpr int kHalves = 1;
  static constexpr bool kBias = true, kSixBits = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(4 + block / 2 * 8 + 4 * part + t, row) >> (4 * (block % 2));
      split_bytes<kRaw>(v, 15, pairs + 2 * part);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    six_bit_scales(s, block, row, scale, bias);
  }
};

// Bit j of byte l of words 4 to 11 is the fifth bit of element l of block j.
struct Q5_K : Block256<44> {
  static constexpr int kHalves = 1;
  static constexpr bool kBias = true, kSixBits = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(12 + block / 2 * 8 + 4 * part + t, row) >> (4 * (block % 2));
      const uint high = flag_of<4>(s.word(4 + 4 * part + t, row), block);
      split_bytes<kRaw>((v & 0x0f0f0f0fu) | high, 31, pairs + 2 * part);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    six_bit_scales(s, block, row, scale, bias);
  }
};

// 16 bytes of 4-bit scales and minima, 64 bytes of codes, d and dmin.
struct Q2_K : Block256<21> {
  static constexpr int kHalves = 2;
  static constexpr bool kBias = true;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(4 + block / 4 * 8 + 4 * part + t, row) >> (2 * (block % 4));
      split_bytes<kRaw>(v, 3, pairs + 2 * part);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float* bias) {
    const float2 d = unpack2(s.word(20, row), half());
    const uint word = s.word(block / 2, row) >> (16 * (block % 2));
    UNROLL for (int half_block = 0; half_block < 2; half_block++) {
      scale[half_block] = d.x * float(bits_at(word, 8 * half_block, 15));
      const float minimum = d.y * float(bits_at(word, 8 * half_block + 4, 15));
      bias[half_block] = bias_beside<kRaw>(scale[half_block], -minimum);
    }
  }
};

// 32 bytes of third bits, 64 bytes of low bits, 12 bytes of 6-bit scales, d beside.
struct Q3_K : Block256<27> {
  static constexpr int kHalves = 2;
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(8 + block / 4 * 8 + 4 * part + t, row) >> (2 * (block % 4));
      const uint high = flag_of<2>(s.word(4 * part + t, row), block);
      split_bytes<4>((v & 0x03030303u) | high, 7, pairs + 2 * part);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    const float d = s.side_half(0, row);
    UNROLL for (int half_block = 0; half_block < 2; half_block++) {
      const uint j = 2 * block + half_block;
      const uint low = bits_at(s.word(24 + j % 8 / 4, row), j % 4 * 8 + j / 8 * 4, 15);
      const uint high = bits_at(s.word(26, row), j % 4 * 8 + j / 4 * 2, 3);
      scale[half_block] = d * (float(low | high << 4) - 32.0f);
    }
  }
};

// Per 128 elements 64 bytes of nibbles and 32 bytes of bit pairs; 16 signed scales; d beside.
struct Q6_K : Block256<52> {
  static constexpr int kHalves = 2;
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    const uint b = block % 4;
    UNROLL for (int part = 0; part < 2; part++) {
      const uint v = s.word(block / 4 * 16 + b % 2 * 8 + 4 * part + t, row) >> (b / 2 * 4);
      const uint bits = s.word(32 + block / 4 * 8 + 4 * part + t, row);
      const uint high = b < 2 ? bits << (4 - 2 * b) : bits >> (2 * b - 4);
      split_bytes<32>((v & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u), 63, pairs + 2 * part);
    }
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    const float d = s.side_half(0, row);
    const uint word = s.word(48 + block / 2, row) >> (16 * (block % 2));
    scale[0] = d * float(int(word << 24) >> 24);
    scale[1] = d * float(int(word << 16) >> 24);
  }
};

// d and the high bits of eight 6-bit scales, their low nibbles, nibbles that index a table.
struct IQ4_XS : Block256<34> {
  static constexpr int kHalves = 1;
  static constexpr bool kBias = false;
  static GPU_FN void codes(const Span& s, uint block, Row row, uint t, uint* pairs) {
    split_looked_up(iq4_table(), s.word(2 + 4 * block + t, row), pairs);
  }
  static GPU_FN void scales(const Span& s, uint block, Row row, float* scale, float*) {
    const uint head_word = s.word(0, row);
    const uint steps =
        bits_at(s.word(1, row), 4 * block, 15) | bits_at(head_word, 16 + 2 * block, 3) << 4;
    scale[0] = unpack2(head_word, half()).x * (float(steps) - 32.0f);
  }
};

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
