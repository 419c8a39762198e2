// SPDX-License-Identifier: Apache-2.0
// SIMD decoder of MLX's fp modes: codes become bf16 or f32 values exactly, then one multiplication.
#if defined(MLXN_KERNELS_DEQUANTIZE_DECODE_MLX_FP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_DEQUANTIZE_DECODE_MLX_FP_INL_H_
#undef MLXN_KERNELS_DEQUANTIZE_DECODE_MLX_FP_INL_H_
#else
#define MLXN_KERNELS_DEQUANTIZE_DECODE_MLX_FP_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "kernels/common/simd_rows-inl.h"
#include "kernels/dequantize/decode_codes-inl.h"
#include "quant/fp_codes.h"
#include "quant/mlx_fp.h"
#include "quant/weight_view.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The two bytes of E2M1's values as bf16: 0, 0.5, 1, 1.5, 2, 3, 4, 6, then the same negative.
inline constexpr uint8_t kE2m1High[16] = {0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40,
                                          0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0};
inline constexpr uint8_t kE2m1Low[16] = {0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0,
                                         0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0};

// count codes, a multiple of 16, two a byte: element 2j in the low nibble.
HWY_INLINE void ScaleE2m1(const uint8_t* bytes, int64_t count, float scale, float* out) {
  const hn::FixedTag<uint8_t, 16> d8;
  const hn::FixedTag<uint8_t, 8> d8_half;
  const DecodeTag d;
  const auto high = hn::LoadU(d8, kE2m1High), low = hn::LoadU(d8, kE2m1Low);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += 16) {
    const auto v = hn::ZeroExtendVector(d8, hn::LoadU(d8_half, bytes + i / 2));
    const auto codes =
        hn::InterleaveLower(d8, hn::And(v, hn::Set(d8, uint8_t{15})), hn::ShiftRight<4>(v));
    const auto lows = hn::TableLookupBytes(low, codes), highs = hn::TableLookupBytes(high, codes);
    uint8_t widened[32];
    hn::StoreU(hn::InterleaveLower(d8, lows, highs), d8, widened);
    hn::StoreU(hn::InterleaveUpper(d8, lows, highs), d8, widened + 16);
    BF16 values[16];
    std::memcpy(values, widened, sizeof(values));
    for (int64_t j = 0; j < 16; j += lanes) {
      hn::StoreU(hn::Mul(hn::Set(d, scale), LoadRow(d, values + j)), d, out + i + j);
    }
  }
}

// count codes, a multiple of 16. Shifted into f32 the exponent's bias is 120 too small; the product
// normalises subnormals too.
HWY_INLINE void ScaleE4m3(const uint8_t* bytes, int64_t count, float scale, float* out) {
  const DecodeTag d;
  const hn::Rebind<uint8_t, DecodeTag> d8;
  const hn::Rebind<uint32_t, DecodeTag> d32;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) {
    const auto v = hn::PromoteTo(d32, hn::LoadU(d8, bytes + i));
    const auto code = hn::And(v, hn::Set(d32, 0x7fu));
    const auto magnitude = hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(code)), hn::Set(d, 0x1p120f));
    const auto nan =
        hn::IfThenElseZero(hn::Eq(code, hn::Set(d32, 0x7fu)), hn::Set(d32, 0x7fc00000u));
    const auto sign = hn::ShiftLeft<24>(hn::And(v, hn::Set(d32, 0x80u)));
    const auto value = hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(d32, magnitude), nan), sign));
    hn::StoreU(hn::Mul(hn::Set(d, scale), value), d, out + i);
  }
}

HWY_INLINE void DecodeMlxFp(const quant::WeightView& w, int64_t expert, int64_t row, float* out) {
  const quant::FpMode mode = quant::fp_mode(w.format);
  const auto* codes = reinterpret_cast<const uint8_t*>(w.row_data(expert, row));
  const auto* scales = reinterpret_cast<const uint8_t*>(w.row_scales(expert, row));
  const int64_t size = mode.group_size;
  for (int64_t g = 0; g < w.cols / size; ++g, codes += size * mode.bits / 8, out += size) {
    const float scale =
        w.format == Format::kMlxNvfp4 ? quant::from_e4m3(scales[g]) : quant::from_e8m0(scales[g]);
    if (mode.bits == 8) {
      ScaleE4m3(codes, size, scale, out);
    } else {
      ScaleE2m1(codes, size, scale, out);
    }
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
