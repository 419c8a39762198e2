// SPDX-License-Identifier: Apache-2.0
#include "quant/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "mlxn/error.h"
#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kMaxGroup = 128;
constexpr int kRun = 8;  // codes unpacked at once: 8 codes of b bits are b bytes

struct GroupFit {
  float scale;
  float bias;
};

float round_by(AffineRecipe recipe, float value) {
  return recipe == AffineRecipe::kMetal ? std::round(value) : std::nearbyint(value);
}

// The entry of larger magnitude becomes code 0 exactly, and the scale is nudged so that 0.0 is a
// multiple of it away from that entry. The scale is negative when that entry is positive.
GroupFit fit_group(const float* x, int size, int max_code, AffineRecipe recipe) {
  constexpr float kMinScale = 1e-7f;
  float low = x[0];
  float high = recipe == AffineRecipe::kMetal ? std::max(x[0], 0.0f) : x[0];
  for (int i = 1; i < size; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const bool low_is_edge = std::fabs(low) > std::fabs(high);
  const float edge = low_is_edge ? low : high;
  float scale = std::max((high - low) / static_cast<float>(max_code), kMinScale);
  if (!low_is_edge) scale = -scale;
  const float edge_steps = round_by(recipe, edge / scale);
  if (edge_steps == 0.0f) return {scale, 0.0f};
  return {edge / edge_steps, edge};
}

// The width is a constant so that the shifts unroll.
template <int kBits>
void unpack(const std::byte* packed, int64_t k, uint8_t* codes) {
  constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
  for (int64_t i = 0; i < k; i += kRun, packed += kBits) {
    uint64_t run = 0;
    std::memcpy(&run, packed, kBits);
    for (int j = 0; j < kRun; ++j) codes[i + j] = static_cast<uint8_t>(run >> (j * kBits) & kMask);
  }
}

void store_scale(std::byte* values, DType dtype, int64_t index, float value) {
  if (dtype == DType::kF32) {
    std::memcpy(values + index * 4, &value, 4);
    return;
  }
  const uint16_t bits = dtype == DType::kF16 ? to_f16(value).bits : to_bf16(value).bits;
  std::memcpy(values + index * 2, &bits, 2);
}

}  // namespace

void unpack_codes(const std::byte* packed, int64_t k, int bits, uint8_t* codes) {
  switch (bits) {
    case 2:
      return unpack<2>(packed, k, codes);
    case 3:
      return unpack<3>(packed, k, codes);
    case 4:
      return unpack<4>(packed, k, codes);
    case 5:
      return unpack<5>(packed, k, codes);
    case 6:
      return unpack<6>(packed, k, codes);
    default:
      std::memcpy(codes, packed, static_cast<size_t>(k));
  }
}

void pack_codes(const uint8_t* codes, int64_t k, int bits, std::byte* packed) {
  for (int64_t i = 0; i < k; i += kRun, packed += bits) {
    uint64_t run = 0;
    for (int j = 0; j < kRun; ++j) run |= uint64_t{codes[i + j]} << (j * bits);
    std::memcpy(packed, &run, static_cast<size_t>(bits));
  }
}

float load_scale(const std::byte* values, DType dtype, int64_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, values + index * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, values + index * 2, 2);
  return dtype == DType::kF16 ? to_float(F16{bits}) : to_float(BF16{bits});
}

void decode_row_affine(const AffineRow& row, int64_t k, float* out) {
  const int64_t group_bytes = int64_t{row.group_size} * row.bits / 8;
  const int64_t groups = k / row.group_size;
  for (int64_t g = 0; g < groups; ++g) {
    uint8_t codes[kMaxGroup];
    unpack_codes(row.codes + g * group_bytes, row.group_size, row.bits, codes);
    const float scale = load_scale(row.scales, row.scale_dtype, g);
    const float bias = row.biases == nullptr ? 0.0f : load_scale(row.biases, row.scale_dtype, g);
    float* group = out + g * row.group_size;
    for (int i = 0; i < row.group_size; ++i) group[i] = scale * static_cast<float>(codes[i]) + bias;
  }
}

void encode_row_affine(const float* in, int64_t k, AffineRecipe recipe, const AffineRowOut& row) {
  if (!is_affine_bits(row.bits) || !is_affine_group_size(row.group_size)) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"encode affine", "bits, group_size",
                            fmt::format("{}, {}", row.bits, row.group_size),
                            "bits 2, 3, 4, 5, 6 or 8; group_size 32, 64 or 128"});
  }
  check_encode_input("affine", in, k, row.group_size);
  const int max_code = (1 << row.bits) - 1;
  const int64_t group_bytes = int64_t{row.group_size} * row.bits / 8;
  for (int64_t g = 0; g < k / row.group_size; ++g) {
    const float* x = in + g * row.group_size;
    const GroupFit fit = fit_group(x, row.group_size, max_code, recipe);
    uint8_t codes[kMaxGroup];
    for (int i = 0; i < row.group_size; ++i) {
      const float q = round_by(recipe, (x[i] - fit.bias) / fit.scale);
      codes[i] = static_cast<uint8_t>(q > 0.0f ? std::min(q, static_cast<float>(max_code)) : 0.0f);
    }
    pack_codes(codes, row.group_size, row.bits, row.codes + g * group_bytes);
    store_scale(row.scales, row.scale_dtype, g, fit.scale);
    store_scale(row.biases, row.scale_dtype, g, fit.bias);
  }
}

}  // namespace mlxn::quant
