// SPDX-License-Identifier: Apache-2.0
// Sixteen weight rows side by side in AVX-512 registers, one per 32-bit lane. Included inside an
// anonymous namespace compiled for the target, after dot_pairs(sum, w, x), which differs between
// processors with VNNI and without.
#pragma once

struct Lanes {
  static constexpr int kRows = 16;
  // Panels and rows of x at once: 12 integer and 12 float sums out of 32 registers.
  static constexpr int kTilePanels = 2, kTileRows = 6;
  using Int = __m512i;
  using Float = __m512;

  static Int splat(int32_t v) { return _mm512_set1_epi32(v); }
  static Float splat(float v) { return _mm512_set1_ps(v); }
  static Int load(const int32_t* p) { return _mm512_loadu_si512(p); }
  // Kept in a register: the compiler would read memory again for each use of its bits, and loads
  // are what a row of codes is short of.
  static Int load_once(const int32_t* p) {
    Int v = load(p);
    asm("" : "+v"(v));
    return v;
  }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(Int v, int32_t* p) { _mm512_storeu_si512(p, v); }
  static void store(Float v, float* p) { _mm512_storeu_ps(p, v); }
  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Int bit_and(Int a, Int b) { return _mm512_and_si512(a, b); }
  static Int bit_or(Int a, Int b) { return _mm512_or_si512(a, b); }
  template <int kBits>
  static Int shift_right_16(Int v) {
    return _mm512_srli_epi16(v, kBits);
  }
  static Int shift_right_16(Int v, int bits) { return _mm512_srli_epi16(v, bits); }
  template <int kBits>
  static Int shift_left_16(Int v) {
    return _mm512_slli_epi16(v, kBits);
  }
  template <int kBits>
  static Int shift_right_signed_16(Int v) {
    return _mm512_srai_epi16(v, kBits);
  }
  static Int shift_right_32(Int v, int bits) { return _mm512_srli_epi32(v, bits); }
  static Int shift_left_32(Int v, int bits) { return _mm512_slli_epi32(v, bits); }
  static Int shift_right_signed_32(Int v, int bits) { return _mm512_srai_epi32(v, bits); }
  static Float to_float(Int v) { return _mm512_cvtepi32_ps(v); }
  static Float bits_to_float(Int v) { return _mm512_castsi512_ps(v); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float mul_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float negate(Float a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  // The f16 in the low half of each lane.
  static Float low_f16(Int v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }

  static Int ones_where_equal(Int a, Int b) {
    return _mm512_maskz_set1_epi32(_mm512_cmpeq_epi32_mask(a, b), -1);
  }
  static bool any(Int a) { return _mm512_test_epi32_mask(a, a) != 0; }
  static Int max(Int a, Int b) { return _mm512_max_epi32(a, b); }

  // kRows values that lie side by side.
  static Int load_u8(const std::byte* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Int load_u16(const std::byte* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Float load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  // Bytes that 4-bit codes stand for.
  using Table = __m512i;
  static Table load_table(const uint8_t* values) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
  }
  static Int look_up(Table table, Int codes) { return _mm512_shuffle_epi8(table, codes); }

  // Byte j of each lane = 16 * (bit shift + j of the lane of v).
  static Int spread_fifth_bits(Int v, int shift) {
    const Int spread =
        _mm512_set_epi32(0x10101010, 0x10101000, 0x10100010, 0x10100000, 0x10001010, 0x10001000,
                         0x10000010, 0x10000000, 0x00101010, 0x00101000, 0x00100010, 0x00100000,
                         0x00001010, 0x00001000, 0x00000010, 0x00000000);
    return _mm512_permutexvar_epi32(_mm512_srli_epi32(v, shift), spread);
  }

  // Two activations for all lanes, and sum += w.lo16 * x.lo16 + w.hi16 * x.hi16.
  static Int pair(const int16_t* q) {
    int32_t bits;
    std::memcpy(&bits, q, sizeof(bits));
    return _mm512_set1_epi32(bits);
  }
  static Int dot(Int sum, Int w, Int x) { return dot_pairs(sum, w, x); }

  // Lane r of out[i] = bytes 4i .. 4i + 3 of the 16 bytes at rows[r] + offset: four rows per
  // register in 128-bit parts, then a 4 x 4 transposition inside the parts.
  static void gather_16_bytes(const std::byte* const* rows, int64_t offset, Int out[4]) {
    Int part[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const auto piece = [&](int r) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r] + offset));
      };
      Int v = _mm512_castsi128_si512(piece(i));
      v = _mm512_inserti32x4(v, piece(4 + i), 1);
      v = _mm512_inserti32x4(v, piece(8 + i), 2);
      part[i] = _mm512_inserti32x4(v, piece(12 + i), 3);
    }
    const Int low01 = _mm512_unpacklo_epi32(part[0], part[1]);
    const Int high01 = _mm512_unpackhi_epi32(part[0], part[1]);
    const Int low23 = _mm512_unpacklo_epi32(part[2], part[3]);
    const Int high23 = _mm512_unpackhi_epi32(part[2], part[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
  }

  // Lane r = the 4 bytes at rows[r] + offset.
  static Int gather_word(const std::byte* const* rows, int64_t offset) {
    alignas(64) int32_t words[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&words[r], rows[r] + offset, sizeof(words[r]));
    return load(words);
  }

  // The f16 at rows[r] + offset.
  static Float gather_f16(const std::byte* const* rows, int64_t offset) {
    const auto half = [&](int first) {
      __m128i v = _mm_setzero_si128();
      const auto at = [&](int r) {
        uint16_t bits;
        std::memcpy(&bits, rows[first + r] + offset, sizeof(bits));
        return bits;
      };
      v = _mm_insert_epi16(v, at(0), 0);
      v = _mm_insert_epi16(v, at(1), 1);
      v = _mm_insert_epi16(v, at(2), 2);
      v = _mm_insert_epi16(v, at(3), 3);
      v = _mm_insert_epi16(v, at(4), 4);
      v = _mm_insert_epi16(v, at(5), 5);
      v = _mm_insert_epi16(v, at(6), 6);
      return _mm_insert_epi16(v, at(7), 7);
    };
    return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(half(0)), half(8), 1));
  }
};
