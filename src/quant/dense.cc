// SPDX-License-Identifier: Apache-2.0
#include "quant/dense.h"

#include <cstring>

#include "mlxn/dtype.h"

namespace mlxn::quant {

void decode_row_f32(const std::byte* row, int64_t k, float* out) {
  std::memcpy(out, row, static_cast<size_t>(k) * sizeof(float));
}

void decode_row_f16(const std::byte* row, int64_t k, float* out) {
  for (int64_t i = 0; i < k; ++i) {
    F16 value;
    std::memcpy(&value, row + i * 2, 2);
    out[i] = to_float(value);
  }
}

void decode_row_bf16(const std::byte* row, int64_t k, float* out) {
  for (int64_t i = 0; i < k; ++i) {
    BF16 value;
    std::memcpy(&value, row + i * 2, 2);
    out[i] = to_float(value);
  }
}

void encode_row_f32(const float* in, int64_t k, std::byte* row) {
  std::memcpy(row, in, static_cast<size_t>(k) * sizeof(float));
}

void encode_row_f16(const float* in, int64_t k, std::byte* row) {
  for (int64_t i = 0; i < k; ++i) {
    const F16 value = to_f16(in[i]);
    std::memcpy(row + i * 2, &value, 2);
  }
}

void encode_row_bf16(const float* in, int64_t k, std::byte* row) {
  for (int64_t i = 0; i < k; ++i) {
    const BF16 value = to_bf16(in[i]);
    std::memcpy(row + i * 2, &value, 2);
  }
}

}  // namespace mlxn::quant
