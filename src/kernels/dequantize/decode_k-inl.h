// SPDX-License-Identifier: Apache-2.0
// SIMD decoders of the GGUF formats with blocks of 256.
#if defined(MLXN_KERNELS_DEQUANTIZE_DECODE_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_DEQUANTIZE_DECODE_K_INL_H_
#undef MLXN_KERNELS_DEQUANTIZE_DECODE_K_INL_H_
#else
#define MLXN_KERNELS_DEQUANTIZE_DECODE_K_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/dequantize/decode_codes-inl.h"
#include "quant/blocks.h"
#include "quant/k_fit.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

HWY_INLINE void DecodeQ5_K(const quant::BlockQ5_K* block, int64_t k, float* out) {
  constexpr int kSub = quant::BlockQ5_K::kElements / quant::BlockQ5_K::kSubBlocks;
  for (int64_t i = 0; i < k; i += quant::BlockQ5_K::kElements, ++block) {
    const float d = to_float(block->d), dmin = to_float(block->dmin);
    for (int j = 0; j < quant::BlockQ5_K::kSubBlocks; j += 2) {
      uint8_t codes[2 * kSub];
      UnpackNibbles(block->qs + j / 2 * kSub, kSub, codes, codes + kSub);
      for (int half = 0; half < 2; ++half) {
        AddBitOfBytes(block->qh, j + half, kSub, 16, codes + half * kSub);
        const quant::ScaleMin sm = quant::k_scale_min(block->scales, j + half);
        ScaleCodesAddBias(codes + half * kSub, kSub, d * static_cast<float>(sm.scale),
                          -(dmin * static_cast<float>(sm.min)), out + i + (j + half) * kSub);
      }
    }
  }
}

// Group j of Q2_K and Q3_K has its two low bits in 16 bytes: 128 elements share 32 bytes.
HWY_INLINE void UnpackGroup(const uint8_t* qs, int j, uint8_t* codes) {
  UnpackPairs(qs + 32 * (j / 8) + 16 * (j % 2), j % 8 / 2, codes);
}

HWY_INLINE void DecodeQ2_K(const quant::BlockQ2_K* block, int64_t k, float* out) {
  constexpr int kGroup = quant::BlockQ2_K::kGroupSize;
  for (int64_t i = 0; i < k; i += quant::BlockQ2_K::kElements, ++block) {
    const float d = to_float(block->d), dmin = to_float(block->dmin);
    for (int j = 0; j < quant::BlockQ2_K::kElements / kGroup; ++j) {
      uint8_t codes[kGroup];
      UnpackGroup(block->qs, j, codes);
      ScaleCodesAddBias(codes, kGroup, d * static_cast<float>(block->scales[j] & 15),
                        -(dmin * static_cast<float>(block->scales[j] >> 4)), out + i + j * kGroup);
    }
  }
}

HWY_INLINE void DecodeQ3_K(const quant::BlockQ3_K* block, int64_t k, float* out) {
  constexpr int kGroup = quant::BlockQ3_K::kGroupSize;
  for (int64_t i = 0; i < k; i += quant::BlockQ3_K::kElements, ++block) {
    const float d = to_float(block->d);
    for (int j = 0; j < quant::BlockQ3_K::kElements / kGroup; ++j) {
      uint8_t codes[kGroup];
      UnpackGroup(block->qs, j, codes);
      AddBitOfBytes(block->hmask + 16 * (j % 2), j / 2, kGroup, 4, codes);
      ScaleCodes(codes, kGroup, 4.0f,
                 d * static_cast<float>(quant::q3_k_scale(block->scales, j) - 32),
                 out + i + j * kGroup);
    }
  }
}

HWY_INLINE void DecodeIQ4_XS(const quant::BlockIQ4_XS* block, int64_t k, float* out) {
  constexpr int kSub = quant::BlockIQ4_XS::kElements / quant::BlockIQ4_XS::kSubBlocks;
  for (int64_t i = 0; i < k; i += quant::BlockIQ4_XS::kElements, ++block) {
    const float d = to_float(block->d);
    for (int b = 0; b < quant::BlockIQ4_XS::kSubBlocks; ++b) {
      const int low = (block->scales_l[b / 2] >> (4 * (b % 2))) & 15;
      const int scale = low | ((block->scales_h >> (2 * b)) & 3) << 4;
      int8_t values[kSub];
      LookUpNibbles(quant::kIq4Values, block->qs + kSub / 2 * b, values);
      ScaleCodes(values, kSub, 0.0f, d * static_cast<float>(scale - 32), out + i + b * kSub);
    }
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
