// SPDX-License-Identifier: Apache-2.0
// Eight weight rows side by side in AVX2 registers, one per 32-bit lane. Included inside an
// anonymous namespace compiled for the target.
#pragma once

struct Lanes {
  static constexpr int kRows = 8;
  // Panels and rows of x at once: 4 integer and 4 float sums out of 16 registers.
  static constexpr int kTilePanels = 1, kTileRows = 4;
  using Int = __m256i;
  using Float = __m256;

  static Int splat(int32_t v) { return _mm256_set1_epi32(v); }
  static Float splat(float v) { return _mm256_set1_ps(v); }
  static Int load(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Int load_once(const int32_t* p) {  // lanes_avx512.h
    Int v = load(p);
    asm("" : "+x"(v));
    return v;
  }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(Int v, int32_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static void store(Float v, float* p) { _mm256_storeu_ps(p, v); }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static Int bit_and(Int a, Int b) { return _mm256_and_si256(a, b); }
  static Int bit_or(Int a, Int b) { return _mm256_or_si256(a, b); }
  template <int kBits>
  static Int shift_right_16(Int v) {
    return _mm256_srli_epi16(v, kBits);
  }
  static Int shift_right_16(Int v, int bits) { return _mm256_srli_epi16(v, bits); }
  template <int kBits>
  static Int shift_left_16(Int v) {
    return _mm256_slli_epi16(v, kBits);
  }
  template <int kBits>
  static Int shift_right_signed_16(Int v) {
    return _mm256_srai_epi16(v, kBits);
  }
  static Int shift_right_32(Int v, int bits) { return _mm256_srli_epi32(v, bits); }
  static Int shift_left_32(Int v, int bits) { return _mm256_slli_epi32(v, bits); }
  static Int shift_right_signed_32(Int v, int bits) { return _mm256_srai_epi32(v, bits); }
  static Float to_float(Int v) { return _mm256_cvtepi32_ps(v); }
  static Float bits_to_float(Int v) { return _mm256_castsi256_ps(v); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float mul_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float negate(Float a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  // The f16 in the low half of each lane.
  static Float low_f16(Int v) {
    const Int low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
  }

  static Int ones_where_equal(Int a, Int b) { return _mm256_cmpeq_epi32(a, b); }
  static bool any(Int a) { return _mm256_testz_si256(a, a) == 0; }
  static Int max(Int a, Int b) { return _mm256_max_epi32(a, b); }

  // kRows values that lie side by side.
  static Int load_u8(const std::byte* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static Int load_u16(const std::byte* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Float load_f16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  // Bytes that 4-bit codes stand for.
  using Table = __m256i;
  static Table load_table(const uint8_t* values) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
  }
  static Int look_up(Table table, Int codes) { return _mm256_shuffle_epi8(table, codes); }

  // Byte j of each lane = 16 * (bit shift + j of the lane of v): the factor has ones at bits 4, 11,
  // 18 and 25, which bring bit j to bit 4 of byte j, without carries.
  static Int spread_fifth_bits(Int v, int shift) {
    const Int nibble = _mm256_and_si256(_mm256_srli_epi32(v, shift), _mm256_set1_epi32(15));
    return _mm256_and_si256(_mm256_mullo_epi32(nibble, _mm256_set1_epi32(0x02040810)),
                            _mm256_set1_epi32(0x10101010));
  }

  // Two activations for all lanes, and sum += w.lo16 * x.lo16 + w.hi16 * x.hi16.
  static Int pair(const int16_t* q) {
    int32_t bits;
    std::memcpy(&bits, q, sizeof(bits));
    return _mm256_set1_epi32(bits);
  }
  static Int dot(Int sum, Int w, Int x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x)); }

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the 16 bytes at rows[r] + offset: two rows per
  // register in 128-bit parts, then a 4 x 4 transposition inside the parts.
  static void gather_16_bytes(const std::byte* const* rows, int64_t offset, Int out[4]) {
    Int part[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const auto piece = [&](int r) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + offset));
      };
      part[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(piece(i)), piece(4 + i), 1);
    }
    const Int low01 = _mm256_unpacklo_epi32(part[0], part[1]);
    const Int high01 = _mm256_unpackhi_epi32(part[0], part[1]);
    const Int low23 = _mm256_unpacklo_epi32(part[2], part[3]);
    const Int high23 = _mm256_unpackhi_epi32(part[2], part[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
  }

  // Lane r = the 4 bytes at rows[r] + offset.
  static Int gather_word(const std::byte* const* rows, int64_t offset) {
    alignas(32) int32_t words[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&words[r], rows[r] + offset, sizeof(words[r]));
    return load(words);
  }

  // The f16 at rows[r] + offset.
  static Float gather_f16(const std::byte* const* rows, int64_t offset) {
    alignas(16) uint16_t bits[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&bits[r], rows[r] + offset, sizeof(uint16_t));
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(bits)));
  }
};
