// SPDX-License-Identifier: Apache-2.0
// What the decoders of a row share: codes out of their bytes, and codes to scaled floats.
// Compiled once per Highway target by the file that includes it.
#if defined(MLXN_KERNELS_DEQUANTIZE_DECODE_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_DEQUANTIZE_DECODE_CODES_INL_H_
#undef MLXN_KERNELS_DEQUANTIZE_DECODE_CODES_INL_H_
#else
#define MLXN_KERNELS_DEQUANTIZE_DECODE_CODES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes: every run of codes below is a multiple of 16.
using DecodeTag = hn::CappedTag<float, 16>;

// `count` codes from `codes` as floats, a vector at a time: fn(index, vector).
template <typename Code, typename Fn>
HWY_INLINE void ForEachCode(const Code* codes, int64_t count, const Fn& fn) {
  const DecodeTag d;
  const hn::Rebind<int32_t, DecodeTag> d32;
  const hn::Rebind<Code, DecodeTag> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    fn(i, hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, codes + i))));
  }
}

// out = (code - zero) * scale
template <typename Code>
HWY_INLINE void ScaleCodes(const Code* codes, int64_t count, float zero, float scale, float* out) {
  const DecodeTag d;
  const auto vzero = hn::Set(d, zero), vscale = hn::Set(d, scale);
  ForEachCode(codes, count, [&](int64_t i, auto code) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::Sub(code, vzero), vscale), d, out + i);
  });
}

// out = scale * code + bias
HWY_INLINE void ScaleCodesAddBias(const uint8_t* codes, int64_t count, float scale, float bias,
                                  float* out) {
  const DecodeTag d;
  const auto vscale = hn::Set(d, scale), vbias = hn::Set(d, bias);
  ForEachCode(codes, count, [&](int64_t i, auto code) HWY_ATTR {
    hn::StoreU(hn::Add(hn::Mul(vscale, code), vbias), d, out + i);
  });
}

// Codes of `count` bytes, a multiple of 16: low nibbles, high nibbles.
HWY_INLINE void UnpackNibbles(const uint8_t* bytes, int64_t count, uint8_t* low, uint8_t* high) {
  const hn::CappedTag<uint8_t, 16> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    const auto v = hn::LoadU(d, bytes + i);
    hn::StoreU(hn::And(v, hn::Set(d, uint8_t{15})), d, low + i);
    hn::StoreU(hn::ShiftRight<4>(v), d, high + i);
  }
}

// Adds `bit` to every code whose bit in `bits` is set. count: a multiple of 16.
HWY_INLINE void AddPackedBits(const uint8_t* bits, int64_t count, uint8_t bit, uint8_t* codes) {
  const hn::FixedTag<uint8_t, 16> d;
  for (int64_t i = 0; i < count; i += 16) {
    const auto mask = hn::LoadMaskBits(d, bits + i / 8);
    const auto v = hn::LoadU(d, codes + i);
    hn::StoreU(hn::Or(v, hn::IfThenElseZero(mask, hn::Set(d, bit))), d, codes + i);
  }
}

// Adds `bit` to every code whose byte has bit `place` set. count: a multiple of 16.
HWY_INLINE void AddBitOfBytes(const uint8_t* bytes, int place, int64_t count, uint8_t bit,
                              uint8_t* codes) {
  const hn::FixedTag<uint8_t, 16> d;
  const auto tested = hn::Set(d, static_cast<uint8_t>(1 << place));
  for (int64_t i = 0; i < count; i += 16) {
    const auto mask = hn::TestBit(hn::LoadU(d, bytes + i), tested);
    const auto v = hn::LoadU(d, codes + i);
    hn::StoreU(hn::Or(v, hn::IfThenElseZero(mask, hn::Set(d, bit))), d, codes + i);
  }
}

// Bits 2t and 2t + 1 of 16 bytes.
HWY_INLINE void UnpackPairs(const uint8_t* bytes, int t, uint8_t* codes) {
  const hn::FixedTag<uint8_t, 16> d;
  const auto v = hn::ShiftRightSame(hn::LoadU(d, bytes), 2 * t);
  hn::StoreU(hn::And(v, hn::Set(d, uint8_t{3})), d, codes);
}

// The entries of a table of 16 for the low nibbles of 16 bytes, then for the high ones.
HWY_INLINE void LookUpNibbles(const int8_t* table, const uint8_t* bytes, int8_t* values) {
  const hn::FixedTag<uint8_t, 16> d;
  const hn::FixedTag<int8_t, 16> d8;
  const auto entries = hn::BitCast(d, hn::LoadU(d8, table));
  const auto v = hn::LoadU(d, bytes);
  const auto low = hn::TableLookupBytes(entries, hn::And(v, hn::Set(d, uint8_t{15})));
  const auto high = hn::TableLookupBytes(entries, hn::ShiftRight<4>(v));
  hn::StoreU(hn::BitCast(d8, low), d8, values);
  hn::StoreU(hn::BitCast(d8, high), d8, values + 16);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
