// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include "kernels/attn_decode_tq/codes_avx512.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/common/attn_keys.h"

#pragma GCC push_options
// GCC 12's own header reads the "undefined" vectors that its intrinsics start from.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,gfni,avx2,fma,f16c,bmi2")

namespace mlxn::kernels::tq_avx512 {
namespace {

constexpr float kMost = 0x7f7f70;  // three digits hold 15 more, for rounding
constexpr float kLeast = 1e-30f;   // queries without a larger element count as 0

// Dword i of 16 rows becomes vector i.
inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i even = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88),
                  odd = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd),
                  more_even = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88),
                  more_odd = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    r[i] = _mm512_shuffle_i32x4(even, more_even, 0x88);
    r[4 + i] = _mm512_shuffle_i32x4(odd, more_odd, 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(even, more_even, 0xdd);
    r[12 + i] = _mm512_shuffle_i32x4(odd, more_odd, 0xdd);
  }
}

// Keeps a value that was loaded in a register: as an operand of two instructions it would be loaded
// twice, and loops over values have no load to spare.
template <class V>
inline V kept(V v) {
  asm volatile("" : "+v"(v));
  return v;
}

// Integers n of the 16 codes.
inline __m512 integers(const quant::TqTable& t) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.half.data())));
}

// 32 keys and kHeads of `all` heads.
template <int kHeads>
inline void dot_turn(const int32_t* digits, int64_t all, const HeadInts* ints, int64_t b,
                     const uint8_t* keys, int64_t stride, int64_t width, Ahead& next,
                     float* scores) {
  Ahead ahead = next;
  __m512i acc[2][kHeads][3];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 3
    for (int d = 0; d < 3; ++d) {
      acc[0][h][d] = acc[1][h][d] = _mm512_set1_epi32(ints[h].start[b][d]);
    }
  }
  for (int64_t v = 0; v < width / 4; ++v, digits += all * 4, keys += 64) {
    ahead.ask<64, 3>();
    const __m512i first = _mm512_load_si512(keys), second = _mm512_load_si512(keys + stride);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 3
      for (int d = 0; d < 3; ++d) {
        const __m512i q = _mm512_set1_epi32(digits[h * 4 + d]);
        acc[0][h][d] = _mm512_dpbusd_epi32(acc[0][h][d], first, q);
        acc[1][h][d] = _mm512_dpbusd_epi32(acc[1][h][d], second, q);
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const auto part = [&](int d) { return _mm512_cvtepi32_ps(acc[i][h][d]); };
      const __m512 low = _mm512_fmadd_ps(part(1), _mm512_set1_ps(256.0f), part(0));
      const __m512 bytes = _mm512_fmadd_ps(part(2), _mm512_set1_ps(65536.0f), low);
      _mm512_storeu_ps(scores + h * kAttnKeyTile + 16 * i,
                       _mm512_fmadd_ps(bytes, _mm512_set1_ps(2.0f * ints[h].scale),
                                       _mm512_set1_ps(ints[h].sum[b])));
    }
  }
  next = ahead;
}

template <int kHeads>
void dot_tile(const int32_t* digits, const HeadInts* ints, int64_t b, const uint8_t* keys,
              int64_t stride, int64_t count, int64_t width, Ahead& ahead, float* scores) {
  constexpr int kFirst = kHeads > 4 ? (kHeads + 1) / 2 : kHeads;
  for (int64_t j = 0; j < count; j += 32, keys += 2 * stride, scores += 32) {
    dot_turn<kFirst>(digits, kHeads, ints, b, keys, stride, width, ahead, scores);
    if constexpr (kFirst < kHeads) {
      dot_turn<kHeads - kFirst>(digits + kFirst * 4, kHeads, ints + kFirst, b, keys, stride, width,
                                ahead, scores + kFirst * kAttnKeyTile);
    }
  }
}

// out_g = out_g * factor_g + acc_g.
template <int kHeads, int kVectors>
inline void add_to(const __m512 (&acc)[kHeads][kVectors], const float* factors, float* out,
                   int64_t stride) {
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) {
    const __m512 factor = _mm512_set1_ps(factors[h]);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      float* const to = out + h * stride + 16 * i;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_loadu_ps(to), factor, acc[h][i]));
    }
  }
}

template <int kHeads>
void value_tile(const quant::TqTable& t, const float* weights, const float* factors,
                const uint8_t* const* codes, int64_t count, int64_t width, Ahead& next, float* out,
                int64_t stride) {
  constexpr int kVectors = kHeads > 4 ? 2 : kHeads > 2 ? 4 : 8;  // 16 accumulators
  const __m512 table = integers(t);
  const __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  Ahead ahead = next;
  for (int64_t at = 0; at < width; at += 16 * kVectors) {
    __m512i dword[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int first = static_cast<int>(at % kChunk / 8) + 2 * i;
      dword[i] = _mm512_mask_set1_epi32(_mm512_set1_epi32(first), 0xff00, first + 1);
    }
    __m512 acc[kHeads][kVectors];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) acc[h][i] = _mm512_setzero_ps();
    }
    for (int64_t j = 0; j < count; ++j) {
      ahead.ask<64, 3>();
      const __m512i all = _mm512_loadu_si512(codes[j] + at / kChunk * (kChunk / 2));
      __m512 v[kVectors];
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const __m512i eight = _mm512_permutexvar_epi32(dword[i], all);
        v[i] = _mm512_permutexvar_ps(_mm512_srlv_epi32(eight, shift), table);
      }
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) {
        const __m512 w = kept(_mm512_set1_ps(weights[h * kAttnKeyTile + j]));
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) acc[h][i] = _mm512_fmadd_ps(w, v[i], acc[h][i]);
      }
    }
    add_to(acc, factors, out + at, stride);
  }
  next = ahead;
}

// 32 codes of each of two rows become bytes that index LevelBytes. 16-byte lane m takes codes 4 m
// .. 4 m + 3 and 16 + 4 m .. 16 + 4 m + 3 of the first row, then those of the second.
struct WholeBytes {
  static constexpr bool kMirrors = true;
  // As a matrix over bits: bit 7 inverted and, if it was clear, all others.
  static constexpr int64_t kMirror = static_cast<int64_t>(0x8182848890a0c080);

  __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i mirror = _mm512_set1_epi64(kMirror);

  explicit WholeBytes(int32_t) {}
  int64_t bytes() const { return 32; }  // of 32 codes
  __m256i load(const uint8_t* row) const {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
  }
  __m512i place(__m512i rows) const { return _mm512_permutexvar_epi32(order, rows); }
  __m512i settle(__m512i codes) const { return _mm512_gf2p8affine_epi64_epi8(codes, mirror, 255); }
};

// Bits above a code are those of the next: levels repeat.
struct PackedCodes {
  static constexpr bool kMirrors = false;

  int64_t of_32;
  __m512i places;  // four bytes from that on in which a four of codes begins
  __m512i shifts;  // bits of two such fours

  explicit PackedCodes(int32_t code_bits) : of_32(4 * code_bits) {
    alignas(64) uint8_t place[64], shift[64];
    for (int at = 0; at < 64; ++at) {
      const int lane = at / 16, row = at / 8 % 2, half = at / 4 % 2, i = at % 4;
      const int first_bit = (16 * half + 4 * lane) * code_bits;
      place[at] = static_cast<uint8_t>((32 * row + first_bit / 8 + i) % 64);
      shift[at] = static_cast<uint8_t>(32 * half + first_bit % 8 + i * code_bits);
    }
    places = _mm512_load_si512(place);
    shifts = _mm512_load_si512(shift);
  }
  int64_t bytes() const { return of_32; }
  __m256i load(const uint8_t* row) const {
    return _mm256_maskz_loadu_epi8(static_cast<__mmask32>((uint64_t{1} << of_32) - 1), row);
  }
  __m512i place(__m512i rows) const { return _mm512_permutexvar_epi8(places, rows); }
  __m512i settle(__m512i codes) const { return _mm512_multishift_epi64_epi8(shifts, codes); }
};

// 32 codes of each of two rows on their way to levels, in steps between which other work finds
// room.
template <class Codes>
struct LookUp {
  static constexpr int kSteps = 14;

  const LevelBytes& bytes;
  const Codes codes;
  __m512i sign = _mm512_set1_epi8(-128);
  __m512i code = {}, byte[3] = {}, half[4] = {}, made[4] = {};
  __m512 levels[2][2] = {};  // the last ones that were finished, by row

  template <int kStep>
  void step(const uint8_t* row0, const uint8_t* row1) {
    constexpr bool kUpper = kStep % 2 == 1;
    if constexpr (kStep == 0) {
      code =
          kept(_mm512_inserti64x4(_mm512_castsi256_si512(codes.load(row0)), codes.load(row1), 1));
    } else if constexpr (kStep == 1) {
      code = kept(codes.place(code));
    } else if constexpr (kStep == 2) {
      code = kept(codes.settle(code));
    } else if constexpr (kStep < 6) {  // an index has 7 bits
      const uint8_t* const table = bytes.of[kStep - 3];
      byte[kStep - 3] = kept(
          _mm512_permutex2var_epi8(_mm512_load_si512(table), code, _mm512_load_si512(table + 64)));
      if constexpr (kStep == 5 && Codes::kMirrors) {
        byte[2] = _mm512_ternarylogic_epi64(byte[2], code, sign, 0xf8);
      }
    } else if constexpr (kStep < 10) {
      const __m512i low = kStep < 8 ? _mm512_setzero_si512() : byte[1],
                    high = byte[kStep < 8 ? 0 : 2];
      half[kStep - 6] =
          kept(kUpper ? _mm512_unpackhi_epi8(low, high) : _mm512_unpacklo_epi8(low, high));
    } else {
      const __m512i low = half[kStep / 2 - 5], high = half[kStep / 2 - 3];
      made[kStep - 10] =
          kept(kUpper ? _mm512_unpackhi_epi16(low, high) : _mm512_unpacklo_epi16(low, high));
    }
  }
  void finish() {
    for (int i = 0; i < 4; ++i) levels[i / 2][i % 2] = _mm512_castsi512_ps(made[i]);
  }
};

// Calls use(i) for i in [0, kCount), with the steps of a look-up spread between the calls.
template <int kCount, class Codes, class Use>
inline void beside(LookUp<Codes>& look_up, const uint8_t* row0, const uint8_t* row1, Use use) {
  const auto slot = [&]<int kSlot, int... k>(std::integer_sequence<int, k...>) {
    if constexpr (kSlot < kCount) use(kSlot);
    ((k * kCount / LookUp<Codes>::kSteps == kSlot ? look_up.template step<k>(row0, row1) : void()),
     ...);
  };
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (slot.template operator()<i>(std::make_integer_sequence<int, LookUp<Codes>::kSteps>()), ...);
  }
  (std::make_integer_sequence<int, kCount>());
  look_up.finish();
}

// The sums of the lanes of four vectors.
inline __m128 sums(__m512 v0, __m512 v1, __m512 v2, __m512 v3) {
  const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v0, v1), _mm512_unpackhi_ps(v0, v1)),
               b = _mm512_add_ps(_mm512_unpacklo_ps(v2, v3), _mm512_unpackhi_ps(v2, v3));
  const __m512d da = _mm512_castps_pd(a), db = _mm512_castps_pd(b);
  const __m512 sum = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(da, db)),
                                   _mm512_castpd_ps(_mm512_unpackhi_pd(da, db)));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

template <int kHeads, class Codes>
void dot_byte_tile(const LevelBytes& bytes, const float* q, const uint8_t* const* rows,
                   int64_t count, int64_t width, Ahead& next, float* scores) {
  Ahead ahead = next;
  LookUp<Codes> look_up{bytes, Codes(bytes.code_bits)};
  const int64_t step = look_up.codes.bytes();
  const auto row = [&](int64_t j) { return rows[std::min(j, count - 1)]; };
  beside<1>(look_up, row(0), row(1), [](int) {});
  for (int64_t j = 0; j < count; j += 2) {
    __m512 acc[kHeads + 1][2];
#pragma GCC unroll 9
    for (int h = 0; h <= kHeads; ++h) acc[h][0] = acc[h][1] = _mm512_setzero_ps();
    const float* of_q = q;
    const uint8_t *row0 = row(j), *row1 = row(j + 1);
    for (int64_t c = 32; c <= width; c += 32, of_q += 32 * kHeads) {
      ahead.ask<64, 3>();
      row0 = c < width ? row0 + step : row(j + 2);
      row1 = c < width ? row1 + step : row(j + 3);
      beside<2 * kHeads>(look_up, row0, row1, [&](int i) {
        const int h = i % kHeads, v = i / kHeads;
        const __m512 of_head = kept(_mm512_load_ps(of_q + 16 * i));
        acc[h][0] = _mm512_fmadd_ps(of_head, look_up.levels[0][v], acc[h][0]);
        acc[h][1] = _mm512_fmadd_ps(of_head, look_up.levels[1][v], acc[h][1]);
      });
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; h += 2) {
      const __m128 pairs = sums(acc[h][0], acc[h][1], acc[h + 1][0], acc[h + 1][1]);
      _mm_storel_pi(reinterpret_cast<__m64*>(scores + h * kAttnKeyTile + j), pairs);
      if (h + 1 < kHeads) {
        _mm_storeh_pi(reinterpret_cast<__m64*>(scores + (h + 1) * kAttnKeyTile + j), pairs);
      }
    }
  }
  next = ahead;
}

template <int kHeads, class Codes>
void add_byte_tile(const LevelBytes& bytes, const float* weights, const float* factors,
                   const uint8_t* const* rows, int64_t count, int64_t width, Ahead& next,
                   float* out, int64_t stride) {
  Ahead ahead = next;
  LookUp<Codes> look_up{bytes, Codes(bytes.code_bits)};
  const int64_t step = look_up.codes.bytes();
  const auto row = [&](int64_t j) { return rows[std::min(j, count - 1)]; };
  beside<1>(look_up, row(0), row(1), [](int) {});
  for (int64_t at = 0; at < width; at += 32) {
    __m512 acc[kHeads][2];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) acc[h][0] = acc[h][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += 2) {
      ahead.ask<64, 3>();
      const bool more = j + 2 < count;
      const int64_t then = more ? j + 2 : 0, column = more ? at : (at + 32) % width;
      const int64_t skipped = column / 32 * step;
      beside<2 * kHeads>(look_up, row(then) + skipped, row(then + 1) + skipped, [&](int i) {
        const int h = i % kHeads, v = i / kHeads;
        const __m512 w = kept(_mm512_set1_ps(weights[h * kAttnKeyTile + j + v]));
        acc[h][0] = _mm512_fmadd_ps(w, look_up.levels[v][0], acc[h][0]);
        acc[h][1] = _mm512_fmadd_ps(w, look_up.levels[v][1], acc[h][1]);
      });
    }
    add_to(acc, factors, out + at, stride);
  }
  next = ahead;
}

template <class Tile, int... kLess>
constexpr auto tiles(Tile tile, std::integer_sequence<int, kLess...>) {
  return std::array{tile.template operator()<kLess + 1>()...};
}
constexpr std::make_integer_sequence<int, 8> kHeadCounts;
constexpr auto kDots = tiles([]<int k>() { return dot_tile<k>; }, kHeadCounts);
constexpr auto kValues = tiles([]<int k>() { return value_tile<k>; }, kHeadCounts);
template <class Codes>
constexpr auto kDotLevels = tiles([]<int k>() { return dot_byte_tile<k, Codes>; }, kHeadCounts);
template <class Codes>
constexpr auto kAddLevels = tiles([]<int k>() { return add_byte_tile<k, Codes>; }, kHeadCounts);

}  // namespace

bool is_here() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("gfni");
}

void make_ints(const float* row, int64_t dim, int64_t norm_count, int64_t heads, int32_t* digits,
               HeadInts& head) {
  __m512 most = _mm512_setzero_ps(), nothing = most;  // NaN if an element is not finite
  for (int64_t c = 0; c < dim; c += 16) {
    const __m512 x = _mm512_loadu_ps(row + c);
    most = _mm512_max_ps(most, _mm512_abs_ps(x));
    nothing = _mm512_fmadd_ps(x, _mm512_setzero_ps(), nothing);
  }
  const float largest = _mm512_reduce_max_ps(most);
  const __m512 factor = _mm512_set1_ps(largest > kLeast ? kMost / largest : 0.0f);
  head.scale = largest / kMost + _mm512_reduce_add_ps(nothing);

  // Byte 4 d + k of 16-byte lane 2 i + e: digit d of element 8 i + 2 k + e.
  alignas(64) uint8_t pick[64] = {};
  for (int at = 0; at < 64; ++at) {
    const int i = at / 32, e = at / 16 % 2, d = at / 4 % 4, k = at % 4;
    pick[at] = static_cast<uint8_t>(4 * (8 * i + 2 * k + e) + d);
  }
  const __m512i order = _mm512_load_si512(pick), bias = _mm512_set1_epi32(0x808080);
  const int64_t each = dim / norm_count;
  for (int64_t b = 0; b < norm_count; ++b) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t c = b * each; c < (b + 1) * each; c += 16) {
      const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(row + c), factor);
      const __m512i integer = _mm512_cvtps_epi32(scaled);
      const __m512i signed_bytes = _mm512_xor_si512(_mm512_add_epi32(integer, bias), bias);
      const __m512i all = _mm512_maskz_permutexvar_epi8(0x0fff0fff0fff0fff, order, signed_bytes);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), all);
      const auto store = [&](int64_t v, __m128i of_four) {
        if (c + 4 * v < dim) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(digits + (c / 4 + v) * heads * 4), of_four);
        }
      };
      store(0, _mm512_castsi512_si128(all));
      store(1, _mm512_extracti32x4_epi32(all, 1));
      store(2, _mm512_extracti32x4_epi32(all, 2));
      store(3, _mm512_extracti32x4_epi32(all, 3));
    }
    alignas(64) int32_t sums[16];
    _mm512_store_si512(sums, sum);
    float total = 0.0f;
    for (int d = 2; d >= 0; --d) {
      const int32_t of_digit = sums[d] + sums[4 + d] + sums[8 + d] + sums[12 + d];
      head.start[b][d] = -128 * of_digit;
      total = total * 256.0f + static_cast<float>(of_digit);
    }
    head.sum[b] = total * head.scale;
  }
}

void spread_keys(const quant::TqTable& t, const uint8_t* const* rows, int64_t count, int64_t dim,
                 uint8_t* to) {
  const __m512i n = _mm512_cvtps_epi32(integers(t));
  const __m512i bytes = _mm512_srli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(255)), 1);
  const __m512i table = _mm512_broadcast_i32x4(_mm512_cvtepi32_epi8(bytes));
  for (int64_t j = 0; j < count; j += 16) {
    const uint8_t* keys[16];
    for (int64_t i = 0; i < 16; ++i) keys[i] = rows[std::min(j + i, count - 1)];
    for (int64_t c = 0; c < dim; c += kChunk, to += 16 * kChunk) {
      const int64_t left = std::min(dim - c, kChunk) / 2;
      const __mmask64 mask = ~uint64_t{0} >> (64 - left);
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_maskz_loadu_epi8(mask, keys[i] + c / 2);
      }
      transpose(r);
      // The table repeats, so that bits above a code do no harm.
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        _mm512_store_si512(to + 128 * i, _mm512_permutexvar_epi8(r[i], table));
        _mm512_store_si512(to + 128 * i + 64,
                           _mm512_permutexvar_epi8(_mm512_srli_epi16(r[i], 4), table));
      }
    }
  }
}

void dot_keys(int64_t heads, const int32_t* digits, const HeadInts* ints, int64_t b,
              const uint8_t* keys, int64_t stride, int64_t count, int64_t width, Ahead& ahead,
              float* scores) {
  kDots[static_cast<size_t>(heads - 1)](digits, ints, b, keys, stride, count, width, ahead, scores);
}

void add_values(int64_t heads, const quant::TqTable& t, const LevelBytes& bytes,
                const float* weights, const float* factors, const uint8_t* const* rows,
                int64_t count, int64_t width, Ahead& ahead, float* out, int64_t stride) {
  const auto i = static_cast<size_t>(heads - 1);
  if (has_digits(t)) {
    kValues[i](t, weights, factors, rows, count, width, ahead, out, stride);
  } else {
    const auto& add = bytes.mirrored ? kAddLevels<WholeBytes> : kAddLevels<PackedCodes>;
    add[i](bytes, weights, factors, rows, count, width, ahead, out, stride);
  }
}

void make_level_bytes(const quant::TqTable& t, LevelBytes& bytes) {
  bytes.mirrored = t.bits == 8;
  bytes.code_bits = t.code_bits;
  const uint16_t* const first = t.half.data() + (bytes.mirrored ? 128 : 0);
  for (int i = 0; i < 128; i += 16) {
    const auto* const half = reinterpret_cast<const __m256i*>(first + i);
    const __m512i level = _mm512_castps_si512(_mm512_cvtph_ps(_mm256_loadu_si256(half)));
    for (int b = 0; b < 3; ++b) {
      const __m512i shifted = _mm512_srlv_epi32(level, _mm512_set1_epi32(8 * b + 8));
      _mm_store_si128(reinterpret_cast<__m128i*>(bytes.of[b] + i), _mm512_cvtepi32_epi8(shifted));
    }
  }
}

void dot_levels(int64_t heads, const LevelBytes& bytes, const float* q, const uint8_t* const* rows,
                int64_t count, int64_t width, Ahead& ahead, float* scores) {
  const auto& dot = bytes.mirrored ? kDotLevels<WholeBytes> : kDotLevels<PackedCodes>;
  dot[static_cast<size_t>(heads - 1)](bytes, q, rows, count, width, ahead, scores);
}

}  // namespace mlxn::kernels::tq_avx512

#pragma GCC pop_options
#endif  // __x86_64__
