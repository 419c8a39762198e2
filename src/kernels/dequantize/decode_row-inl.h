// SPDX-License-Identifier: Apache-2.0
// One row of a weight as f32 with SIMD, bit for bit what quant::decode_row gives: codes become
// floats exactly, then one multiplication, then for formats with an offset one addition, unfused.
// Compiled once per Highway target by the file that includes it.
#if defined(MLXN_KERNELS_DEQUANTIZE_DECODE_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_DEQUANTIZE_DECODE_ROW_INL_H_
#undef MLXN_KERNELS_DEQUANTIZE_DECODE_ROW_INL_H_
#else
#define MLXN_KERNELS_DEQUANTIZE_DECODE_ROW_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/common/float_io.h"
#include "kernels/common/simd_rows-inl.h"
#include "quant/affine.h"
#include "quant/blocks.h"
#include "quant/k_fit.h"
#include "quant/weight_view.h"

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

template <typename Half>  // F16 or BF16
HWY_INLINE void WidenRow(const Half* row, int64_t count, float* out) {
  const DecodeTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(LoadRow(d, row + i), d, out + i);
  for (; i < count; ++i) out[i] = to_float(row[i]);
}

HWY_INLINE void DecodeQ4_0(const quant::BlockQ4_0* block, int64_t k, float* out) {
  constexpr int kHalf = quant::BlockQ4_0::kElements / 2;
  for (int64_t i = 0; i < k; i += 2 * kHalf, ++block) {
    uint8_t codes[2 * kHalf];
    UnpackNibbles(block->qs, kHalf, codes, codes + kHalf);
    ScaleCodes(codes, 2 * kHalf, 8.0f, to_float(block->d), out + i);
  }
}

HWY_INLINE void DecodeQ8_0(const quant::BlockQ8_0* block, int64_t k, float* out) {
  constexpr int kSize = quant::BlockQ8_0::kElements;
  for (int64_t i = 0; i < k; i += kSize, ++block) {
    ScaleCodes(block->qs, kSize, 0.0f, to_float(block->d), out + i);
  }
}

HWY_INLINE void DecodeQ4_K(const quant::BlockQ4_K* block, int64_t k, float* out) {
  constexpr int kSub = quant::BlockQ4_K::kElements / quant::BlockQ4_K::kSubBlocks;
  for (int64_t i = 0; i < k; i += quant::BlockQ4_K::kElements, ++block) {
    const float d = to_float(block->d), dmin = to_float(block->dmin);
    for (int j = 0; j < quant::BlockQ4_K::kSubBlocks; j += 2) {
      uint8_t codes[2 * kSub];
      UnpackNibbles(block->qs + j / 2 * kSub, kSub, codes, codes + kSub);
      for (int half = 0; half < 2; ++half) {
        const quant::ScaleMin sm = quant::k_scale_min(block->scales, j + half);
        ScaleCodesAddBias(codes + half * kSub, kSub, d * static_cast<float>(sm.scale),
                          -(dmin * static_cast<float>(sm.min)), out + i + (j + half) * kSub);
      }
    }
  }
}

HWY_INLINE void DecodeQ6_K(const quant::BlockQ6_K* block, int64_t k, float* out) {
  constexpr int kGroup = quant::BlockQ6_K::kGroupSize;
  constexpr int kRun = 32;  // elements with one place in the bytes; two groups
  for (int64_t i = 0; i < k; i += quant::BlockQ6_K::kElements, ++block) {
    const float d = to_float(block->d);
    for (int run = 0; run < quant::BlockQ6_K::kElements / kRun; ++run) {
      const int half = run / 4, t = run % 4;
      const uint8_t* ql = block->ql + 64 * half + kRun * (t % 2);
      const uint8_t* qh = block->qh + kRun * half;
      uint8_t codes[kRun];
      for (int l = 0; l < kRun; ++l) {
        codes[l] =
            static_cast<uint8_t>(((ql[l] >> (4 * (t / 2))) & 15) | (((qh[l] >> (2 * t)) & 3) << 4));
      }
      for (int group = 0; group < 2; ++group) {
        ScaleCodes(codes + group * kGroup, kGroup, 32.0f,
                   d * static_cast<float>(block->scales[2 * run + group]),
                   out + i + run * kRun + group * kGroup);
      }
    }
  }
}

HWY_INLINE void DecodeAffine(const quant::WeightView& w, int64_t expert, int64_t row, float* out) {
  const uint8_t* packed = reinterpret_cast<const uint8_t*>(w.row_data(expert, row));
  const std::byte* scales = w.row_scales(expert, row);
  const std::byte* biases = w.row_biases(expert, row);
  const int64_t size = w.group_size;
  const int64_t group_bytes = size * w.bits / 8;
  for (int64_t g = 0; g < w.cols / size; ++g, packed += group_bytes, out += size) {
    const float scale = quant::load_scale(scales, w.scale_dtype, g);
    const float bias = biases == nullptr ? 0.0f : quant::load_scale(biases, w.scale_dtype, g);
    uint8_t unpacked[128];
    const uint8_t* codes = unpacked;
    if (w.bits == 8) {
      codes = packed;
    } else if (w.bits == 4) {
      for (int64_t j = 0; j < size / 2; ++j) {
        unpacked[2 * j] = packed[j] & 15;
        unpacked[2 * j + 1] = packed[j] >> 4;
      }
    } else {
      quant::unpack_codes(reinterpret_cast<const std::byte*>(packed), size, w.bits, unpacked);
    }
    ScaleCodesAddBias(codes, size, scale, bias, out);
  }
}

// Row `row` of expert `expert`; out: [cols].
HWY_INLINE void DecodeRow(const quant::WeightView& w, int64_t expert, int64_t row, float* out) {
  const std::byte* data = w.row_data(expert, row);
  switch (w.format) {
    case Format::kF32:
      return load_f32(DType::kF32, data, 0, w.cols, out);
    case Format::kF16:
      return WidenRow(reinterpret_cast<const F16*>(data), w.cols, out);
    case Format::kBF16:
      return WidenRow(reinterpret_cast<const BF16*>(data), w.cols, out);
    case Format::kAffine:
      return DecodeAffine(w, expert, row, out);
    case Format::kQ4_0:
      return DecodeQ4_0(reinterpret_cast<const quant::BlockQ4_0*>(data), w.cols, out);
    case Format::kQ8_0:
      return DecodeQ8_0(reinterpret_cast<const quant::BlockQ8_0*>(data), w.cols, out);
    case Format::kQ4_K:
      return DecodeQ4_K(reinterpret_cast<const quant::BlockQ4_K*>(data), w.cols, out);
    case Format::kQ6_K:
      return DecodeQ6_K(reinterpret_cast<const quant::BlockQ6_K*>(data), w.cols, out);
    default:
      // A format that has no SIMD decoder.
      return quant::decode_row(w, expert * w.rows + row, out);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
