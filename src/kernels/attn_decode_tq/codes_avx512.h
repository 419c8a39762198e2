// SPDX-License-Identifier: Apache-2.0
// Decode attention over codes without rows of levels, with AVX-512 VNNI, VBMI and GFNI: over 4-bit
// codes of the project's own codebook by integers, over others by bytes of f32 levels.
#pragma once

#include <cstdint>

#include "kernels/attn_decode/ahead.h"
#include "quant/turboquant.h"

namespace mlxn::kernels::tq_avx512 {

// 4-bit codes of a vector of one row.
inline constexpr int64_t kChunk = 128;

// Whether this processor runs what is below.
bool is_here();

// Whether levels are odd integers 2 b + 1 times a unit, b a signed byte.
inline bool has_digits(const quant::TqTable& t) { return t.sign_magnitude && t.code_bits == 4; }

// A query of one head is scale * (65536 d2 + 256 d1 + d0), d three signed digits.
struct HeadInts {
  float scale;
  float sum[2];         // of the elements under each norm
  int32_t start[2][3];  // -128 times the sum of each digit
};

// `digits` of one of `heads` heads: [dim / 4, heads, 4], of which the last is 0, each four bytes:
// those of the elements 8 i + 2 k + e, k = 0 .. 3, are number 2 i + e. `row` is padded with zeros
// to a multiple of 16.
void make_ints(const float* row, int64_t dim, int64_t norm_count, int64_t heads, int32_t* digits,
               HeadInts& head);

// Bytes of 16 keys as spread_keys leaves them.
inline int64_t spread_bytes(int64_t dim) { return (dim + kChunk - 1) / kChunk * kChunk * 16; }

// Rows of codes as bytes b + 128: [count / 16, dim / 4, 16 keys, 4 elements], elements as above.
void spread_keys(const quant::TqTable& t, const uint8_t* const* rows, int64_t count, int64_t dim,
                 uint8_t* to);

// scores[g * kAttnKeyTile + j] = <q_g, n_j> over `width` elements under norm b, for one to eight
// heads; `digits` and `keys` begin at the first of them. Keys of spread_bytes(dim) = `stride`.
void dot_keys(int64_t heads, const int32_t* digits, const HeadInts* ints, int64_t b,
              const uint8_t* keys, int64_t stride, int64_t count, int64_t width, Ahead& ahead,
              float* scores);

// Levels in f32 by code, up to bit 6 of it: their bytes 1, 2 and 3. Byte 0 is 0.
struct LevelBytes {
  alignas(64) uint8_t of[3][128];
  bool mirrored;  // of 8-bit codes these are the positive levels, ascending
  int32_t code_bits;
};

// Whether codes have such bytes.
inline bool has_level_bytes(const quant::TqTable& t) {
  return t.has_half && (t.bits < 8 || t.half_mirrors);
}
void make_level_bytes(const quant::TqTable& t, LevelBytes& bytes);

// scores[g * kAttnKeyTile + j] = <q_g, levels_j> over `width` elements, a multiple of 64, for one
// to eight heads; `rows` begin at the first of them. Scores up to an even count are written. q:
// [width / 16, heads, 16].
void dot_levels(int64_t heads, const LevelBytes& bytes, const float* q, const uint8_t* const* rows,
                int64_t count, int64_t width, Ahead& ahead, float* scores);

// As ValueTile, over codes: those of has_digits, with a width that is a multiple of kChunk, or
// others, with a multiple of 32. Of an odd `count` the weight beyond it is 0.
void add_values(int64_t heads, const quant::TqTable& t, const LevelBytes& bytes,
                const float* weights, const float* factors, const uint8_t* const* rows,
                int64_t count, int64_t width, Ahead& ahead, float* out, int64_t stride);

}  // namespace mlxn::kernels::tq_avx512
