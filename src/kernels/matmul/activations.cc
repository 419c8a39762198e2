// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul/activations.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/activations.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::matmul::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void WidenF16(const uint16_t* in, size_t count, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d), rest = count % lanes;
  for (size_t i = 0; i < count - rest; i += lanes) {
    hn::StoreU(kernels::HWY_NAMESPACE::WidenF16(d, in + i), d, out + i);
  }
  for (size_t i = count - rest; i < count; ++i) out[i] = to_float(F16{in[i]});
}

void WidenBF16(const uint16_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(in[i]) << 16;
    memcpy(out + i, &bits, sizeof(bits));
  }
}

// Elements [begin, end) of x as f32.
void WidenX(const MatmulParams& p, int64_t begin, int64_t end, float* out) {
  if (p.x_dtype == DType::kF32) {
    memcpy(out, static_cast<const float*>(p.x) + begin,
           static_cast<size_t>(end - begin) * sizeof(float));
  } else if (p.x_dtype == DType::kF16) {
    WidenF16(static_cast<const uint16_t*>(p.x) + begin, static_cast<size_t>(end - begin), out);
  } else {
    WidenBF16(static_cast<const uint16_t*>(p.x) + begin, end - begin, out);
  }
}

// The bits of the largest magnitude; at least 0x7f800000 if one is infinite or NaN.
uint32_t MaxMagnitudeBits(const float* x) {
  const hn::CappedTag<int32_t, kBlock> d;
  const auto mask = hn::Set(d, 0x7fffffff);
  auto max = hn::Zero(d);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
    max = hn::Max(max, hn::And(mask, hn::LoadU(d, reinterpret_cast<const int32_t*>(x) + i)));
  }
  return static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(d, max)));
}

// q[i] = nearest integer of x[i] * inverse, halves to even.
void RoundToLevels(const float* x, float inverse, int32_t* q) {
  const hn::CappedTag<float, kBlock> d;
  const hn::RebindToSigned<decltype(d)> di;
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse));
    hn::StoreU(hn::NearestInt(scaled), di, q + i);
  }
}

void StoreInOrder(const int32_t* q, int pair_distance, int16_t* out) {
  int at = 0;
  for (; at + 2 * pair_distance <= kBlock; at += 2 * pair_distance) {
    for (int t = 0; t < pair_distance; ++t) {
      out[at + 2 * t] = static_cast<int16_t>(q[at + t]);
      out[at + 2 * t + 1] = static_cast<int16_t>(q[at + t + pair_distance]);
    }
  }
  for (; at < kBlock; ++at) out[at] = static_cast<int16_t>(q[at]);
}

// Narrows the integers and puts them in the order of the pairs.
void StorePairs(const int32_t* q, int pair_distance, int16_t* out) {
#if HWY_TARGET == HWY_SCALAR
  StoreInOrder(q, pair_distance, out);
#else
  alignas(16) static constexpr uint8_t kTwo[16] = {0, 1, 4,  5,  2,  3,  6,  7,
                                                   8, 9, 12, 13, 10, 11, 14, 15};
  alignas(16) static constexpr uint8_t kFour[16] = {0, 1, 8,  9,  2, 3, 10, 11,
                                                    4, 5, 12, 13, 6, 7, 14, 15};
  if (pair_distance != 2 && pair_distance != 4) return StoreInOrder(q, pair_distance, out);
  const hn::CappedTag<int32_t, 4> d32;
  const hn::CappedTag<int16_t, 8> d16;
  const hn::CappedTag<uint8_t, 16> d8;
  const auto places = hn::Load(d8, pair_distance == 2 ? kTwo : kFour);
  for (int i = 0; i < kBlock; i += 8) {
    const auto low = hn::Load(d32, q + i), high = hn::Load(d32, q + i + 4);
    const auto narrow = hn::ReorderDemote2To(d16, low, high);
    hn::StoreU(hn::BitCast(d16, hn::TableLookupBytes(hn::BitCast(d8, narrow), places)), d16,
               out + i);
  }
#endif
}

int32_t SumOfHalf(const int32_t* q) {
  const hn::CappedTag<int32_t, kBlock / 2> d;
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < kBlock / 2; i += hn::Lanes(d)) sum = hn::Add(sum, hn::Load(d, q + i));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void QuantiseBlock(const float* x, const ActivationLayout& layout, ActivationBlock& block) {
  const uint32_t max_bits = MaxMagnitudeBits(x);
  constexpr uint32_t kInfinityBits = 0x7f800000;
  if (max_bits == 0 || max_bits >= kInfinityBits) {
    block = ActivationBlock{};
    if (max_bits != 0) block.scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  float max;
  memcpy(&max, &max_bits, sizeof(max));
  // Tiny blocks are lifted first: kMaxLevel / max would overflow.
  constexpr float kTiny = 0x1p-100f, kLift = 0x1p+90f;
  float lifted[kBlock];
  const bool lift = max < kTiny;
  if (lift) {
    for (int i = 0; i < kBlock; ++i) lifted[i] = x[i] * kLift;
    max *= kLift;
  }
  alignas(64) int32_t q[kBlock];
  RoundToLevels(lift ? lifted : x, static_cast<float>(kMaxLevel) / max, q);
  StorePairs(q, layout.pair_distance, block.q);
  const int32_t sum[2] = {SumOfHalf(q), SumOfHalf(q + kBlock / 2)};
  block.scale = max / static_cast<float>(kMaxLevel);
  if (lift) block.scale /= kLift;
  block.sum = static_cast<float>(sum[0] + sum[1]);
  block.offset[0] = layout.code_factor * (layout.has_halves ? sum[0] : sum[0] + sum[1]);
  block.offset[1] = layout.has_halves ? layout.code_factor * sum[1] : 0;
}

void Quantise(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  const ActivationLayout layout = activation_layout(p.weight);
  ActivationBlock* blocks = reinterpret_cast<ActivationBlock*>(staged);
  alignas(64) float x[kBlock];
  for (int64_t i = begin; i < end; i += kBlock) {
    WidenX(p, i, i + kBlock, x);
    QuantiseBlock(x, layout, blocks[i / kBlock]);
  }
}

void Widen(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  const int64_t cols = p.weight.cols, stride = widened_row_bytes(p);
  while (begin < end) {
    const int64_t row = begin / cols, stop = std::min(end, (row + 1) * cols);
    WidenX(p, begin, stop, reinterpret_cast<float*>(staged + row * stride) + begin % cols);
    begin = stop;
  }
}

}  // namespace mlxn::kernels::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels::matmul {

HWY_EXPORT(Quantise);
HWY_EXPORT(Widen);

int64_t activation_row_bytes(const MatmulParams& p) {
  return p.weight.cols / kBlock * static_cast<int64_t>(sizeof(ActivationBlock));
}
int64_t widened_row_bytes(const MatmulParams& p) {
  constexpr int64_t kFewRows = 6, kPage = 4096, kOffset = 1024 + 64;
  if (p.x_dtype == DType::kF32 && p.x_rows <= kFewRows) return 0;
  const int64_t bytes = p.weight.cols * static_cast<int64_t>(sizeof(float));
  return base::round_up(std::max(bytes - kOffset, int64_t{0}), kPage) + kOffset;
}

void quantise_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Quantise), Isa::kAvx512)(p, begin, end, staged);
}
void quantise_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Quantise), Isa::kAvx2)(p, begin, end, staged);
}
void quantise_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Quantise), Isa::kBaseline)(p, begin, end, staged);
}
void widen_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Widen), Isa::kAvx512)(p, begin, end, staged);
}
void widen_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Widen), Isa::kAvx2)(p, begin, end, staged);
}
void widen_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged) {
  variant(HWY_DISPATCH_TABLE(Widen), Isa::kBaseline)(p, begin, end, staged);
}

}  // namespace mlxn::kernels::matmul
#endif  // HWY_ONCE
