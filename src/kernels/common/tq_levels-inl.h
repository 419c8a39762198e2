// SPDX-License-Identifier: Apache-2.0
// Codes of a TurboQuant row as levels, in f32 or in f16. Included once per Highway target, so the
// guard toggles.
#if defined(MLXN_KERNELS_COMMON_TQ_LEVELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_TQ_LEVELS_INL_H_
#undef MLXN_KERNELS_COMMON_TQ_LEVELS_INL_H_
#else
#define MLXN_KERNELS_COMMON_TQ_LEVELS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "mlxn/dtype.h"
#include "quant/turboquant.h"

#if HWY_ARCH_X86
#include <immintrin.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// The codes of coordinates c .. c + 7, code i from bit i * code_bits on.
HWY_INLINE uint64_t CodeGroup(const uint8_t* codes, int64_t c, int32_t code_bits) {
  uint64_t word = 0;
  std::memcpy(&word, codes + c / 8 * code_bits, static_cast<size_t>(code_bits));
  return word;
}

template <class T>
HWY_INLINE void LevelsOf(const quant::TqTable& t, const uint8_t* codes, int64_t begin, int64_t dim,
                         T* out) {
  const uint64_t mask = (uint64_t{1} << t.code_bits) - 1;
  for (int64_t c = begin; c < dim; c += 8) {
    const uint64_t word = CodeGroup(codes, c, t.code_bits);
    for (int i = 0; i < 8; ++i) {
      const size_t code = word >> (i * t.code_bits) & mask;
      if constexpr (std::is_same_v<T, F16>) {
        out[c + i].bits = t.half[code];
      } else {
        out[c + i] = t.levels[code];
      }
    }
  }
}

#if HWY_TARGET == HWY_AVX3
// Tables of f16 in registers, 64 entries each. One suffices up to 6 bits, since levels repeat
// beyond 2^bits. 256 entries take four.
template <int kTables>
struct HalfTable {
  __m512i low[kTables], high[kTables];  // 32 entries each

  explicit HalfTable(const quant::TqTable& t) {
#pragma GCC unroll 4
    for (int i = 0; i < kTables; ++i) {
      low[i] = _mm512_loadu_si512(t.half.data() + 64 * i);
      high[i] = _mm512_loadu_si512(t.half.data() + 64 * i + 32);
    }
  }

  HWY_INLINE __m512i entry(int table, __m512i index) const {
    return _mm512_permutex2var_epi16(low[table], index, high[table]);
  }
  static HWY_INLINE __m512i choose(__m512i index, short bit, __m512i clear, __m512i set) {
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(index, _mm512_set1_epi16(bit)), clear,
                                   set);
  }

  // Entries by 16-bit lanes, of which one table takes the lowest 6 bits.
  HWY_INLINE __m512i at(__m512i index) const {
    if constexpr (kTables == 1) return entry(0, index);
    if constexpr (kTables == 4) {
      return choose(index, 128, choose(index, 64, entry(0, index), entry(1, index)),
                    choose(index, 64, entry(2, index), entry(3, index)));
    }
  }
};

// Where the codes of a group of eight lie in its bytes, for four groups side by side.
struct DenseSpread {
  __m512i bytes;   // per 16-bit lane: the byte in which its code starts, and the next one
  __m512i shifts;  // bit of that byte
  __mmask16 load;  // bytes of a group
  int64_t stride;

  explicit DenseSpread(int32_t bits) {
    alignas(64) uint8_t pick[64];
    alignas(64) uint16_t shift[32];
    for (int i = 0; i < 32; ++i) {
      const int bit = i % 8 * bits;
      pick[2 * i] = static_cast<uint8_t>(bit / 8);
      pick[2 * i + 1] = static_cast<uint8_t>(bit / 8 + 1 < bits ? bit / 8 + 1 : 0x80);
      shift[i] = static_cast<uint16_t>(bit % 8);
    }
    bytes = _mm512_load_si512(pick);
    shifts = _mm512_load_si512(shift);
    load = static_cast<__mmask16>((1 << bits) - 1);
    stride = bits;
  }

  // 32 codes; the bits above a code are those of the next.
  HWY_INLINE __m512i codes(const uint8_t* from) const {
    const auto group = [&](int i) { return _mm_maskz_loadu_epi8(load, from + i * stride); };
    const __m256i a = _mm256_set_m128i(group(1), group(0)),
                  b = _mm256_set_m128i(group(3), group(2));
    const __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    return _mm512_srlv_epi16(_mm512_shuffle_epi8(all, bytes), shifts);
  }
};

// Rows [0, count) of levels, 32 at a time; the rest of a row one by one.
template <int kTables, class Codes>
HWY_INLINE void HalfRows(const quant::TqTable& t, const uint8_t* const* rows, int64_t count,
                         int64_t dim, F16* out, int64_t stride, Codes codes) {
  const HalfTable<kTables> table(t);
  const int64_t step = 4 * t.code_bits;  // bytes of 32 codes
  for (int64_t r = 0; r < count; ++r) {
    const uint8_t* from = rows[r];
    F16* const to = out + r * stride;
    int64_t c = 0;
    for (; c + 32 <= dim; c += 32, from += step) {
      _mm512_storeu_si512(to + c, table.at(codes(from)));
    }
    if (c < dim) LevelsOf(t, rows[r], c, dim, to);
  }
}
#endif  // HWY_AVX3

// out [count, stride]: the levels of `count` rows of codes.
template <class T>
HWY_INLINE void TqLevels(const quant::TqTable& t, const uint8_t* const* rows, int64_t count,
                         int64_t dim, T* out, int64_t stride) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (std::is_same_v<T, F16>) {
    if (t.code_bits == 4) {
      return HalfRows<1>(t, rows, count, dim, out, stride, [](const uint8_t* from) {
        const __m512i v =
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        return _mm512_or_si512(v, _mm512_slli_epi32(v, 12));
      });
    }
    if (t.code_bits == 8) {
      const auto bytes = [](const uint8_t* from) {
        return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
      };
      if (t.bits < 8) return HalfRows<1>(t, rows, count, dim, out, stride, bytes);
      return HalfRows<4>(t, rows, count, dim, out, stride, bytes);
    }
    const DenseSpread spread(t.code_bits);
    return HalfRows<1>(t, rows, count, dim, out, stride,
                       [spread](const uint8_t* from) { return spread.codes(from); });
  }
#endif
  for (int64_t r = 0; r < count; ++r) LevelsOf(t, rows[r], 0, dim, out + r * stride);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
