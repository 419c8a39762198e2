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

#include <algorithm>
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
  const auto put = [&](int64_t c, size_t code) {
    if constexpr (std::is_same_v<T, F16>) {
      out[c].bits = t.half[code];
    } else {
      out[c] = t.levels[code];
    }
  };
  if (t.code_bits == 8) {
    for (int64_t c = begin; c < dim; ++c) put(c, codes[c]);
    return;
  }
  const uint64_t mask = (uint64_t{1} << t.code_bits) - 1;
  for (int64_t c = begin; c < dim; c += 8) {
    const uint64_t word = CodeGroup(codes, c, t.code_bits);
    for (int i = 0; i < 8; ++i) put(c + i, word >> (i * t.code_bits) & mask);
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

// Byte shuffles, and no wider tables.
#undef MLXN_TQ_BYTE_TABLES
#if HWY_TARGET != HWY_AVX3 && HWY_TARGET != HWY_SSE2 && HWY_TARGET != HWY_SCALAR
#define MLXN_TQ_BYTE_TABLES 1
namespace hn = hwy::HWY_NAMESPACE;

using CodeTag = hn::CappedTag<uint8_t, 32>;  // of one or two blocks of 16 bytes
using CodeVec = hn::Vec<CodeTag>;
using WindowTag = hn::Repartition<uint16_t, CodeTag>;
inline constexpr int64_t kCodesAtOnce = hn::MaxLanes(CodeTag());
// In order, but on AVX2, which interleaves within blocks of 16 bytes: there the first block has
// codes 0 .. 7 and 16 .. 23, the second one 8 .. 15 and 24 .. 31.
static_assert(kCodesAtOnce == (HWY_TARGET == HWY_AVX2 ? 32 : 16));

// 16 kTables levels of f16 from t.half[kFirst] on, as tables of their low and high bytes. Table i
// has what turns entry j of table i - 1 into its own, and all tables up to that of a code have a
// part in its level: whether a table has takes one subtraction.
template <int kTables, int kFirst = 0>
class HalfBytes {
 public:
  explicit HalfBytes(const quant::TqTable& t) {
    HWY_ALIGN uint8_t low[16], high[16];
    for (int i = 0; i < kTables; ++i) {
      for (int j = 0; j < 16; ++j) {
        const int entry = kFirst + 16 * i + j;
        const int own = t.half[entry] ^ (i > 0 ? t.half[entry - 16] : 0);
        low[j] = static_cast<uint8_t>(own);
        high[j] = static_cast<uint8_t>(own >> 8);
      }
      low_[i] = hn::LoadDup128(CodeTag(), low);
      high_[i] = hn::LoadDup128(CodeTag(), high);
    }
  }
  // Of numbers from kFirst on, one in each byte, below 128. Bits of `signs` are added to the high
  // bytes.
  HWY_INLINE void store(CodeVec codes, CodeVec signs, F16* out) const {
    const CodeTag d;
    CodeVec low = hn::Zero(d), high = signs;
#pragma GCC unroll 8
    for (int i = 0; i < kTables; ++i) {
      // Below the table's codes there is the top bit, which finds 0.
      const CodeVec from_table = i == 0 ? codes : hn::Sub(codes, hn::Set(d, uint8_t(16 * i)));
      const CodeVec index = in_block(from_table);
      low = hn::Xor(low, hn::TableLookupBytesOr0(low_[i], index));
      high = hn::Xor(high, hn::TableLookupBytesOr0(high_[i], index));
    }
    const CodeVec a = hn::InterleaveLower(d, low, high), b = hn::InterleaveUpper(d, low, high);
    uint8_t* const to = reinterpret_cast<uint8_t*>(out);
    hn::StoreU(a, d, to);
    hn::StoreU(b, d, to + kCodesAtOnce);
  }

 private:
  // Bits 4 to 6 of an index do not count on x86, and must be 0 elsewhere.
  static HWY_INLINE CodeVec in_block(CodeVec index) {
    return HWY_ARCH_X86 || kTables == 1 ? index : hn::And(index, hn::Set(CodeTag(), 0x8f));
  }

  CodeVec low_[kTables], high_[kTables];
};

// Levels by tables of codes up to 6 bits.
template <int kTables>
struct HalfLevels {
  HalfBytes<kTables> table;

  explicit HalfLevels(const quant::TqTable& t) : table(t) {}
  HWY_INLINE void store(CodeVec codes, F16* out) const {
    table.store(codes, hn::Zero(CodeTag()), out);
  }
};
// By half of the table where the other half is -half, see TqTable::half_mirrors.
template <int kBits>
struct MirroredLevels {
  static constexpr int kMiddle = 1 << (kBits - 1);
  HalfBytes<kMiddle / 16, kMiddle> table;

  explicit MirroredLevels(const quant::TqTable& t) : table(t) {}
  HWY_INLINE void store(CodeVec codes, F16* out) const {
    const CodeTag d;
    const hn::Repartition<int8_t, CodeTag> signed_d;
    const auto from_middle = hn::Sub(codes, hn::Set(d, kMiddle));
    const auto below = hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(signed_d, from_middle)));
    table.store(hn::Xor(from_middle, below), hn::And(from_middle, hn::Set(d, 128)), out);
  }
};

// kCodesAtOnce codes out of a row's bytes [from, end), one to a byte.
struct TwoBitCodes {
  HWY_INLINE CodeVec operator()(const uint8_t* from, const uint8_t*) const {
    const hn::Repartition<uint32_t, CodeTag> d;
    auto bytes = hn::LoadU(hn::Rebind<uint8_t, decltype(d)>(), from);
#if HWY_TARGET == HWY_AVX2
    bytes.raw = _mm_shufflelo_epi16(bytes.raw, _MM_SHUFFLE(3, 1, 2, 0));
#endif
    const auto v = hn::PromoteTo(d, bytes);
    const auto pairs = hn::Or(v, hn::ShiftLeft<6>(v));
    const auto all = hn::Or(pairs, hn::ShiftLeft<12>(pairs));
    return hn::And(hn::BitCast(CodeTag(), all), hn::Set(CodeTag(), 3));
  }
};
struct FourBitCodes {
  HWY_INLINE CodeVec operator()(const uint8_t* from, const uint8_t*) const {
    const WindowTag d;
    auto bytes = hn::LoadU(hn::Rebind<uint8_t, WindowTag>(), from);
#if HWY_TARGET == HWY_AVX2
    bytes.raw = _mm_shuffle_epi32(bytes.raw, _MM_SHUFFLE(3, 1, 2, 0));
#endif
    const auto v = hn::PromoteTo(d, bytes);
    const auto all = hn::Or(v, hn::ShiftLeft<4>(v));
    return hn::And(hn::BitCast(CodeTag(), all), hn::Set(CodeTag(), 15));
  }
};
// Of which the bits in kMask count.
template <uint8_t kMask>
struct ByteCodes {
  HWY_INLINE CodeVec operator()(const uint8_t* from, const uint8_t*) const {
    auto codes = hn::LoadU(CodeTag(), from);
#if HWY_TARGET == HWY_AVX2
    codes.raw = _mm256_permute4x64_epi64(codes.raw, _MM_SHUFFLE(3, 1, 2, 0));
#endif
    return kMask == 255 ? codes : hn::And(codes, hn::Set(CodeTag(), kMask));
  }
};
// Of up to 6 bits: the two bytes in which a code begins, less what is beside it. Rows have at least
// 16 bytes.
class DenseCodes {
 public:
  explicit DenseCodes(int bits) : bits_(bits) {
    HWY_ALIGN uint8_t bytes[kCodesAtOnce];
    HWY_ALIGN uint16_t factors[kCodesAtOnce / 2];
    for (int i = 0; i < kCodesAtOnce / 2; ++i) {
      const int bit = i * bits;
      bytes[2 * i] = static_cast<uint8_t>(bit / 8);
      bytes[2 * i + 1] = static_cast<uint8_t>(bit / 8 + 1);
      factors[i] = static_cast<uint16_t>(1 << (16 - bits - bit % 8));
    }
    bytes_ = hn::Load(CodeTag(), bytes);
    factors_ = hn::Load(WindowTag(), factors);
    for (int i = 0; i < 2; ++i) {
      const int behind = (2 - i) * kCodesAtOnce / 16 * bits;  // bytes from there to the row's end
      last_[i] = moved(bytes_, std::max(16 - behind, 0));
    }
  }
  HWY_INLINE CodeVec operator()(const uint8_t* from, const uint8_t* end) const {
    const uint8_t* const next = from + kCodesAtOnce / 16 * bits_;
    if (end - next >= 16) return join(spread(from, bytes_), spread(next, bytes_));
    const uint8_t *const from_16 = std::min(from, end - 16), *const next_16 = end - 16;
    if (end - next == next - from) {
      return join(spread(from_16, last_[0]), spread(next_16, last_[1]));
    }
    return join(spread(from_16, moved(bytes_, static_cast<int>(from - from_16))),
                spread(next_16, moved(bytes_, static_cast<int>(next - next_16))));
  }

 private:
  static HWY_INLINE CodeVec moved(CodeVec bytes, int by) {
    const CodeTag d;
    return hn::And(hn::Add(bytes, hn::Set(d, static_cast<uint8_t>(by))), hn::Set(d, 15));
  }
  static HWY_INLINE CodeVec join(CodeVec first, CodeVec second) {
#if HWY_TARGET == HWY_AVX2
    return CodeVec{_mm256_packus_epi16(first.raw, second.raw)};
#else
    return hn::ConcatEven(CodeTag(), second, first);
#endif
  }
  // kCodesAtOnce / 2 codes, each with a zero byte. Of a window's second byte only bits of its code
  // count, so it may be any where there is none.
  HWY_INLINE CodeVec spread(const uint8_t* from, CodeVec bytes) const {
    const auto windows = hn::TableLookupBytes(hn::LoadDup128(CodeTag(), from), bytes);
    const auto high = hn::Mul(hn::BitCast(WindowTag(), windows), factors_);
    return hn::BitCast(CodeTag(), hn::ShiftRightSame(high, 16 - bits_));
  }

  int bits_;
  CodeVec bytes_;    // of windows that begin with 16 bytes that are there
  CodeVec last_[2];  // of the last two of a row, of which the last 16 bytes are read
  hn::Vec<WindowTag> factors_;
};

// Rows [0, count) of levels, kCodesAtOnce at a time; the rest of a row one by one.
template <class Levels, class Codes>
HWY_INLINE void HalfRows(const quant::TqTable& t, const uint8_t* const* rows, int64_t count,
                         int64_t dim, F16* out, int64_t stride, Codes codes) {
  const Levels levels(t);
  const int64_t step = kCodesAtOnce / 8 * t.code_bits;  // bytes
  for (int64_t r = 0; r < count; ++r) {
    const uint8_t* from = rows[r];
    const uint8_t* const end = from + dim / 8 * t.code_bits;
    F16* const to = out + r * stride;
    int64_t c = 0;
    for (; c + kCodesAtOnce <= dim && end - rows[r] >= 16; c += kCodesAtOnce, from += step) {
      levels.store(codes(from, end), to + c);
    }
    if (c < dim) LevelsOf(t, rows[r], c, dim, to);
  }
}
#else
#define MLXN_TQ_BYTE_TABLES 0
#endif

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
#elif MLXN_TQ_BYTE_TABLES
  if constexpr (std::is_same_v<T, F16>) {
    const auto by = [&]<class Levels>(std::type_identity<Levels>, const auto& codes) {
      HalfRows<Levels>(t, rows, count, dim, out, stride, codes);
    };
    constexpr std::type_identity<HalfLevels<1> > one;
    constexpr std::type_identity<HalfLevels<2> > two;
    constexpr std::type_identity<HalfLevels<4> > four;
    switch (t.code_bits) {
      case 2:
        return by(one, TwoBitCodes());
      case 3:
        return by(one, DenseCodes(3));
      case 4:
        return by(one, FourBitCodes());
      case 5:
        if (t.half_mirrors) return by(std::type_identity<MirroredLevels<5> >(), DenseCodes(5));
        return by(two, DenseCodes(5));
      case 6:
        if (t.half_mirrors) return by(std::type_identity<MirroredLevels<6> >(), DenseCodes(6));
        return by(four, DenseCodes(6));
      case 8:
        if (t.bits <= 6) return by(four, ByteCodes<63>());
        if (t.half_mirrors) return by(std::type_identity<MirroredLevels<8> >(), ByteCodes<255>());
        break;
      default:
        break;
    }
  }
#endif
  for (int64_t r = 0; r < count; ++r) LevelsOf(t, rows[r], 0, dim, out + r * stride);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
