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
#include "quant/weight_view.h"
// Without vectors the decoders of src/quant do.
#if HWY_TARGET != HWY_SCALAR
#include "kernels/dequantize/decode_blocks-inl.h"
#include "kernels/dequantize/decode_codes-inl.h"
#include "kernels/dequantize/decode_k-inl.h"
#include "kernels/dequantize/decode_mlx_fp-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

// Row `row` of expert `expert`; out: [cols].
HWY_INLINE void DecodeRow(const quant::WeightView& w, int64_t expert, int64_t row, float* out) {
  quant::decode_row(w, expert * w.rows + row, out);
}

#else

template <typename Half>  // F16 or BF16
HWY_INLINE void WidenRow(const Half* row, int64_t count, float* out) {
  const DecodeTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(LoadRow(d, row + i), d, out + i);
  for (; i < count; ++i) out[i] = to_float(row[i]);
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
    case Format::kQ4_1:
      return DecodeQ4_1(reinterpret_cast<const quant::BlockQ4_1*>(data), w.cols, out);
    case Format::kQ5_0:
      return DecodeQ5_0(reinterpret_cast<const quant::BlockQ5_0*>(data), w.cols, out);
    case Format::kQ5_1:
      return DecodeQ5_1(reinterpret_cast<const quant::BlockQ5_1*>(data), w.cols, out);
    case Format::kQ2_K:
      return DecodeQ2_K(reinterpret_cast<const quant::BlockQ2_K*>(data), w.cols, out);
    case Format::kQ3_K:
      return DecodeQ3_K(reinterpret_cast<const quant::BlockQ3_K*>(data), w.cols, out);
    case Format::kQ5_K:
      return DecodeQ5_K(reinterpret_cast<const quant::BlockQ5_K*>(data), w.cols, out);
    case Format::kIQ4_NL:
      return DecodeIQ4_NL(reinterpret_cast<const quant::BlockIQ4_NL*>(data), w.cols, out);
    case Format::kIQ4_XS:
      return DecodeIQ4_XS(reinterpret_cast<const quant::BlockIQ4_XS*>(data), w.cols, out);
    case Format::kMXFP4:
      return DecodeMXFP4(reinterpret_cast<const quant::BlockMXFP4*>(data), w.cols, out);
    case Format::kMlxMxfp4:
    case Format::kMlxMxfp8:
    case Format::kMlxNvfp4:
      return DecodeMlxFp(w, expert, row, out);
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
