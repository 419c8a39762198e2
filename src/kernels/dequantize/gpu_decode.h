// SPDX-License-Identifier: Apache-2.0
// Eight neighbouring elements of a weight row as floats, bit for bit what quant::decode_row gives:
// codes become floats exactly, then one multiplication, then for formats with an offset one
// addition, unfused. A format is a struct with
//   decode8(row, at, left, v)   elements at .. at + 7, at a multiple of 8; `left` elements from
//   `at`
//                               on exist (fewer than 8 only in dense rows)
// Blocks lie at even addresses (MXFP4: any), affine codes at multiples of 4.
#pragma once
#include "kernels/common/gpu_rows.h"
#include "kernels/dequantize/gpu_scales.h"

GPU_LIBRARY_BEGIN

struct WeightRow {
  DEVICE const uchar* data;
  DEVICE const uchar* scales;  // formats with a scale array
  DEVICE const uchar* biases;  // affine, if has_biases
  uint bits;                   // affine: of a code
  uint group_size;             // affine: elements per scale
  bool has_biases;
  bool vectors;  // dense: the row is aligned to 16 bytes
};

// ---- bytes and codes ----

GPU_FN float load_half(DEVICE const uchar* p) { return float(*(DEVICE const half*)p); }

// Eight bytes from an even address.
GPU_FN void load_bytes8(DEVICE const uchar* p, THREAD uint* bytes) {
  UNROLL for (int i = 0; i < 4; i++) {
    const uint pair = ((DEVICE const ushort*)p)[i];
    bytes[2 * i] = pair & 255;
    bytes[2 * i + 1] = pair >> 8;
  }
}

// Codes e .. e + 7 of 32 nibbles at q: element i < 16 in the low nibble of byte i, the others in
// the high ones.
GPU_FN void split_nibbles8(DEVICE const uchar* q, uint e, THREAD uint* codes) {
  load_bytes8(q + (e & 15), codes);
  UNROLL for (int i = 0; i < 8; i++) codes[i] = (codes[i] >> (e < 16 ? 0 : 4)) & 15;
}

// Adds `bit` to code i if bit `first + i` of the bytes at `bits` is set; first is a multiple of 8.
GPU_FN void add_packed_bits8(DEVICE const uchar* bits, uint first, uint bit, THREAD uint* codes) {
  const uint byte = bits[first / 8];
  UNROLL for (int i = 0; i < 8; i++) codes[i] = codes[i] | (((byte >> i) & 1) * bit);
}

// Adds `bit` to code i if bit `place` of byte i is set.
GPU_FN void add_bit_of_bytes8(DEVICE const uchar* bytes, uint place, uint bit, THREAD uint* codes) {
  uint high[8];
  load_bytes8(bytes, high);
  UNROLL for (int i = 0; i < 8; i++) codes[i] = codes[i] | (((high[i] >> place) & 1) * bit);
}

// (code - zero) * scale
GPU_FN void scale_codes8(THREAD const uint* codes, float zero, float scale, THREAD float* v) {
  UNROLL for (int i = 0; i < 8; i++) v[i] = (float(codes[i]) - zero) * scale;
}
// scale * code + bias
GPU_FN void scale_codes_add8(THREAD const uint* codes, float scale, float bias, THREAD float* v) {
  UNROLL for (int i = 0; i < 8; i++) v[i] = scale * float(codes[i]) + bias;
}

// Signed byte `code` of sixteen in four words.
GPU_FN float byte_of(uint code, uint w0, uint w1, uint w2, uint w3) {
  const uint word = code < 8 ? (code < 4 ? w0 : w1) : (code < 12 ? w2 : w3);
  return float(int(word << (24 - 8 * (code & 3))) >> 24);
}
// The table of IQ4_NL: -127 -104 -83 -65  -49 -35 -22 -10  1 13 25 38  53 69 89 113.
GPU_FN float iq4_value(uint code) {
  return byte_of(code, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}
// Twice an E2M1 value without its sign: 0 1 2 3  4 6 8 12.
GPU_FN float e2m1_doubled(uint code) { return byte_of(code & 7, 0x03020100u, 0x0c080604u, 0u, 0u); }
// ---- dense ----

template <typename T>
struct Dense {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    load_row<8>((DEVICE const T*)row.data + at, left, row.vectors, v);
  }
};

// ---- GGUF blocks of 32 ----

struct Q4_0 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 18;
    uint codes[8];
    split_nibbles8(block + 2, at % 32, codes);
    scale_codes8(codes, 8.0f, load_half(block), v);
  }
};
struct Q4_1 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 20;
    uint codes[8];
    split_nibbles8(block + 4, at % 32, codes);
    scale_codes_add8(codes, load_half(block), load_half(block + 2), v);
  }
};
struct Q5_0 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 22;
    uint codes[8];
    split_nibbles8(block + 6, at % 32, codes);
    add_packed_bits8(block + 2, at % 32, 16, codes);
    scale_codes8(codes, 16.0f, load_half(block), v);
  }
};
struct Q5_1 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 24;
    uint codes[8];
    split_nibbles8(block + 8, at % 32, codes);
    add_packed_bits8(block + 4, at % 32, 16, codes);
    scale_codes_add8(codes, load_half(block), load_half(block + 2), v);
  }
};
struct Q8_0 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 34;
    const float scale = load_half(block);
    uint codes[8];
    load_bytes8(block + 2 + at % 32, codes);
    UNROLL for (int i = 0; i < 8; i++) v[i] = float(int(codes[i] << 24) >> 24) * scale;
  }
};
struct IQ4_NL {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 18;
    const float scale = load_half(block);
    uint codes[8];
    split_nibbles8(block + 2, at % 32, codes);
    UNROLL for (int i = 0; i < 8; i++) v[i] = iq4_value(codes[i]) * scale;
  }
};
struct MXFP4 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 32 * 17;
    DEVICE const uchar* q = block + 1 + at % 16;
    const uint e = block[0];
    // 2^(e - 128): half the scale, since the codes are doubled.
    const float scale = as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    UNROLL for (int i = 0; i < 8; i++) {
      const uint code = (q[i] >> (at % 32 < 16 ? 0 : 4)) & 15;
      const float value = e2m1_doubled(code);
      v[i] = (code > 8 ? -value : value) * scale;
    }
  }
};

// ---- GGUF blocks of 256 ----

// Scale and minimum of sub-block j of Q4_K and Q5_K under their factors. The first four are the low
// 6 bits of bytes 0..3 and 4..7; the others have their low 4 bits in bytes 8..11 and their high 2
// bits on top of bytes 0..7.
GPU_FN void k_scale_min(DEVICE const uchar* block, uint j, THREAD float* scale, THREAD float* min) {
  DEVICE const uchar* s = block + 4;
  uint a, b;
  if (j < 4) {
    a = s[j] & 63;
    b = s[j + 4] & 63;
  } else {
    const uint low = s[j + 4];
    a = (low & 15) | uint(s[j - 4] >> 6) << 4;
    b = low >> 4 | uint(s[j] >> 6) << 4;
  }
  *scale = load_half(block) * float(a);
  *min = load_half(block + 2) * float(b);
}

struct Q4_K {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 144;
    const uint e = at % 256, j = e / 32;
    float scale, min;
    k_scale_min(block, j, &scale, &min);
    uint codes[8];
    load_bytes8(block + 16 + j / 2 * 32 + e % 32, codes);
    UNROLL for (int i = 0; i < 8; i++) codes[i] = (codes[i] >> (4 * (j % 2))) & 15;
    scale_codes_add8(codes, scale, -min, v);
  }
};
struct Q5_K {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 176;
    const uint e = at % 256, j = e / 32;
    float scale, min;
    k_scale_min(block, j, &scale, &min);
    uint codes[8];
    load_bytes8(block + 48 + j / 2 * 32 + e % 32, codes);
    UNROLL for (int i = 0; i < 8; i++) codes[i] = (codes[i] >> (4 * (j % 2))) & 15;
    add_bit_of_bytes8(block + 16 + e % 32, j, 16, codes);
    scale_codes_add8(codes, scale, -min, v);
  }
};
struct Q6_K {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 210;
    const uint e = at % 256, half_block = e / 128, t = e % 128 / 32, l = e % 32;
    uint codes[8], high[8];
    load_bytes8(block + 64 * half_block + 32 * (t % 2) + l, codes);
    load_bytes8(block + 128 + 32 * half_block + l, high);
    UNROLL for (int i = 0; i < 8; i++) {
      codes[i] = ((codes[i] >> (4 * (t / 2))) & 15) | ((high[i] >> (2 * t)) & 3) << 4;
    }
    const int scale = int(uint(block[192 + e / 16]) << 24) >> 24;
    scale_codes8(codes, 32.0f, load_half(block + 208) * float(scale), v);
  }
};
// Q2_K and Q3_K: bits 2t, 2t + 1 of a byte, 128 elements sharing 32 bytes.
GPU_FN void load_pairs8(DEVICE const uchar* q, uint e, THREAD uint* codes) {
  load_bytes8(q + 32 * (e / 128) + e % 32, codes);
  UNROLL for (int i = 0; i < 8; i++) codes[i] = (codes[i] >> (2 * (e % 128 / 32))) & 3;
}
struct Q2_K {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 84;
    const uint e = at % 256, group = block[e / 16];
    const float scale = load_half(block + 80) * float(group & 15);
    const float min = load_half(block + 82) * float(group >> 4);
    uint codes[8];
    load_pairs8(block + 16, e, codes);
    scale_codes_add8(codes, scale, -min, v);
  }
};
struct Q3_K {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 110;
    const uint e = at % 256, j = e / 16;
    // Low 4 bits in a nibble of bytes 0..7, high 2 bits in bytes 8..11.
    DEVICE const uchar* s = block + 96;
    const uint low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
    const uint scale = low | ((s[8 + j % 4] >> (2 * (j / 4))) & 3) << 4;
    uint codes[8];
    load_pairs8(block + 32, e, codes);
    add_bit_of_bytes8(block + e % 32, e / 32, 4, codes);
    scale_codes8(codes, 4.0f, load_half(block + 108) * (float(scale) - 32.0f), v);
  }
};
struct IQ4_XS {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    DEVICE const uchar* block = row.data + at / 256 * 136;
    const uint e = at % 256, b = e / 32;
    const uint high = *(DEVICE const ushort*)(block + 2);
    const uint low = (block[4 + b / 2] >> (4 * (b % 2))) & 15;
    const float steps = float(low | ((high >> (2 * b)) & 3) << 4) - 32.0f;
    const float scale = load_half(block) * steps;
    uint codes[8];
    split_nibbles8(block + 8 + 16 * b, e % 32, codes);
    UNROLL for (int i = 0; i < 8; i++) v[i] = iq4_value(codes[i]) * scale;
  }
};

// ---- MLX: codes and scales in arrays of their own ----

// Eight codes of `bits` bits are `bits` bytes of one little-endian stream.
template <typename S>
struct Affine {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    const uint group = at / row.group_size;
    const float scale = float(((DEVICE const S*)row.scales)[group]);
    const float bias = row.has_biases ? float(((DEVICE const S*)row.biases)[group]) : 0.0f;
    DEVICE const uchar* p = row.data + at / 8 * row.bits;
    uint codes[8];
    if (row.bits == 4) {
      const uint word = *(DEVICE const uint*)p;
      UNROLL for (int i = 0; i < 8; i++) codes[i] = (word >> (4 * i)) & 15;
    } else if (row.bits == 8) {
      UNROLL for (int i = 0; i < 8; i++) {
        codes[i] = (((DEVICE const uint*)p)[i / 4] >> (8 * (i % 4))) & 255;
      }
    } else {
      ulong run = 0;
      for (uint i = 0; i < row.bits; i++) run = run | ulong(p[i]) << (8 * i);
      const uint mask = (1u << row.bits) - 1;
      UNROLL for (int i = 0; i < 8; i++) codes[i] = uint(run >> (i * row.bits)) & mask;
    }
    scale_codes_add8(codes, scale, bias, v);
  }
};

// E2M1 codes, two a byte, element 2j in the low nibble.
GPU_FN void e2m1_codes8(DEVICE const uchar* p, float scale, THREAD float* v) {
  const uint word = *(DEVICE const uint*)p;
  UNROLL for (int i = 0; i < 8; i++) {
    const uint code = (word >> (4 * i)) & 15;
    const float value = 0.5f * e2m1_doubled(code);
    v[i] = scale * (code >= 8 ? -value : value);
  }
}
struct MlxMxfp4 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    e2m1_codes8(row.data + at / 2, e8m0_value(row.scales[at / 32]), v);
  }
};
struct MlxNvfp4 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    e2m1_codes8(row.data + at / 2, e4m3_value(row.scales[at / 16]), v);
  }
};
struct MlxMxfp8 {
  static GPU_FN void decode8(THREAD const WeightRow& row, uint at, uint left, THREAD float* v) {
    const float scale = e8m0_value(row.scales[at / 32]);
    UNROLL for (int i = 0; i < 8; i++) {
      const uint word = ((DEVICE const uint*)(row.data + at))[i / 4];
      v[i] = scale * e4m3_value((word >> (8 * (i % 4))) & 255);
    }
  }
};

GPU_LIBRARY_END
