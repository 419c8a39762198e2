// SPDX-License-Identifier: Apache-2.0
// SIMD decoders of the GGUF formats with blocks of 32.
#if defined(MLXN_KERNELS_DEQUANTIZE_DECODE_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_DEQUANTIZE_DECODE_BLOCKS_INL_H_
#undef MLXN_KERNELS_DEQUANTIZE_DECODE_BLOCKS_INL_H_
#else
#define MLXN_KERNELS_DEQUANTIZE_DECODE_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/dequantize/decode_codes-inl.h"
#include "quant/blocks.h"
#include "quant/fp_codes.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

HWY_INLINE void DecodeQ4_1(const quant::BlockQ4_1* block, int64_t k, float* out) {
  constexpr int kHalf = quant::BlockQ4_1::kElements / 2;
  for (int64_t i = 0; i < k; i += 2 * kHalf, ++block) {
    uint8_t codes[2 * kHalf];
    UnpackNibbles(block->qs, kHalf, codes, codes + kHalf);
    ScaleCodesAddBias(codes, 2 * kHalf, to_float(block->d), to_float(block->m), out + i);
  }
}

HWY_INLINE void DecodeQ5_0(const quant::BlockQ5_0* block, int64_t k, float* out) {
  constexpr int kHalf = quant::BlockQ5_0::kElements / 2;
  for (int64_t i = 0; i < k; i += 2 * kHalf, ++block) {
    uint8_t codes[2 * kHalf];
    UnpackNibbles(block->qs, kHalf, codes, codes + kHalf);
    AddPackedBits(block->qh, 2 * kHalf, 16, codes);
    ScaleCodes(codes, 2 * kHalf, 16.0f, to_float(block->d), out + i);
  }
}

HWY_INLINE void DecodeQ5_1(const quant::BlockQ5_1* block, int64_t k, float* out) {
  constexpr int kHalf = quant::BlockQ5_1::kElements / 2;
  for (int64_t i = 0; i < k; i += 2 * kHalf, ++block) {
    uint8_t codes[2 * kHalf];
    UnpackNibbles(block->qs, kHalf, codes, codes + kHalf);
    AddPackedBits(block->qh, 2 * kHalf, 16, codes);
    ScaleCodesAddBias(codes, 2 * kHalf, to_float(block->d), to_float(block->m), out + i);
  }
}

HWY_INLINE void DecodeIQ4_NL(const quant::BlockIQ4_NL* block, int64_t k, float* out) {
  constexpr int kSize = quant::BlockIQ4_NL::kElements;
  for (int64_t i = 0; i < k; i += kSize, ++block) {
    int8_t values[kSize];
    LookUpNibbles(quant::kIq4Values, block->qs, values);
    ScaleCodes(values, kSize, 0.0f, to_float(block->d), out + i);
  }
}

HWY_INLINE void DecodeMXFP4(const quant::BlockMXFP4* block, int64_t k, float* out) {
  constexpr int kSize = quant::BlockMXFP4::kElements;
  for (int64_t i = 0; i < k; i += kSize, ++block) {
    int8_t values[kSize];
    LookUpNibbles(quant::kE2m1Doubled, block->qs, values);
    ScaleCodes(values, kSize, 0.0f, quant::half_e8m0(block->e), out + i);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
