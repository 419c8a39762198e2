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
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx2,fma,f16c,bmi2")

namespace mlxn::kernels::tq_avx512 {
namespace {

constexpr float kMost = 0x7f7f7f;  // of an integer with three digits

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
  for (int64_t v = 0; v < width / 4; ++v, digits += all * 3, keys += 64) {
    ahead.ask<64>();
    const __m512i first = _mm512_load_si512(keys), second = _mm512_load_si512(keys + stride);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 3
      for (int d = 0; d < 3; ++d) {
        const __m512i q = _mm512_set1_epi32(digits[h * 3 + d]);
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
      dot_turn<kHeads - kFirst>(digits + kFirst * 3, kHeads, ints + kFirst, b, keys, stride, width,
                                ahead, scores + kFirst * kAttnKeyTile);
    }
  }
}

template <int kHeads>
void value_tile(const quant::TqTable& t, const float* weights, const float* factors,
                const uint8_t* const* codes, int64_t count, int64_t width, Ahead& next, float* out,
                int64_t stride) {
  constexpr int kPlanes = kHeads > 4 ? 2 : kHeads > 2 ? 4 : 8;  // 16 accumulators
  const __m512 table = integers(t);
  Ahead ahead = next;
  for (int64_t at = 0; at < width; at += 16 * kPlanes) {
    __m512i shift[kPlanes];
#pragma GCC unroll 8
    for (int i = 0; i < kPlanes; ++i) {
      shift[i] = _mm512_set1_epi32(static_cast<int>(at % kChunk / 4) + 4 * i);
    }
    __m512 acc[kHeads][kPlanes];
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
      for (int i = 0; i < kPlanes; ++i) acc[h][i] = _mm512_setzero_ps();
    }
    for (int64_t j = 0; j < count; ++j) {
      ahead.ask<64>();
      const __m512i all = _mm512_loadu_si512(codes[j] + at / kChunk * (kChunk / 2));
      __m512 v[kPlanes];
#pragma GCC unroll 8
      for (int i = 0; i < kPlanes; ++i) {
        v[i] = _mm512_permutexvar_ps(_mm512_srlv_epi32(all, shift[i]), table);
      }
#pragma GCC unroll 8
      for (int h = 0; h < kHeads; ++h) {
        const __m512 w = _mm512_set1_ps(weights[h * kAttnKeyTile + j]);
#pragma GCC unroll 8
        for (int i = 0; i < kPlanes; ++i) acc[h][i] = _mm512_fmadd_ps(w, v[i], acc[h][i]);
      }
    }
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
      for (int i = 0; i < kPlanes; ++i) {
        float* const to = out + h * stride + at + 16 * i;
        _mm512_storeu_ps(
            to, _mm512_fmadd_ps(_mm512_loadu_ps(to), _mm512_set1_ps(factors[h]), acc[h][i]));
      }
    }
  }
  next = ahead;
}

template <int... kLess>
constexpr auto dot_tiles(std::integer_sequence<int, kLess...>) {
  return std::array{dot_tile<kLess + 1>...};
}
template <int... kLess>
constexpr auto value_tiles(std::integer_sequence<int, kLess...>) {
  return std::array{value_tile<kLess + 1>...};
}
constexpr auto kDots = dot_tiles(std::make_integer_sequence<int, 8>());
constexpr auto kValues = value_tiles(std::make_integer_sequence<int, 8>());

}  // namespace

bool is_here() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
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
  const __m512 divisor = _mm512_set1_ps(largest > 0.0f ? largest : 1.0f);
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
      const __m512 part = _mm512_div_ps(_mm512_loadu_ps(row + c), divisor);
      const __m512i integer = _mm512_cvtps_epi32(_mm512_mul_ps(part, _mm512_set1_ps(kMost)));
      const __m512i signed_bytes = _mm512_xor_si512(_mm512_add_epi32(integer, bias), bias);
      const __m512i all = _mm512_maskz_permutexvar_epi8(0x0fff0fff0fff0fff, order, signed_bytes);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), all);
      alignas(64) int32_t lanes[16];
      _mm512_store_si512(lanes, all);
      for (int64_t v = c / 4; v < std::min(c + 16, dim) / 4; ++v) {
        std::copy_n(lanes + (v - c / 4) * 4, 3, digits + v * heads * 3);
      }
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
    for (int64_t c = 0; c < dim; c += kChunk, to += 16 * kChunk) {
      const int64_t left = std::min(dim - c, kChunk) / 2;
      const __mmask64 mask = ~uint64_t{0} >> (64 - left);
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_maskz_loadu_epi8(mask, rows[std::min(j + i, count - 1)] + c / 2);
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

void add_values(int64_t heads, const quant::TqTable& t, const float* weights, const float* factors,
                const uint8_t* const* codes, int64_t count, int64_t width, Ahead& ahead, float* out,
                int64_t stride) {
  kValues[static_cast<size_t>(heads - 1)](t, weights, factors, codes, count, width, ahead, out,
                                          stride);
}

}  // namespace mlxn::kernels::tq_avx512

#pragma GCC pop_options
#endif  // __x86_64__
