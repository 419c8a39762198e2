// SPDX-License-Identifier: Apache-2.0
// Rows of any float dtype as f32. Widening is exact; narrowing rounds to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

#include "mlxn/dtype.h"

namespace mlxn::kernels {

inline void load_f32(DType dtype, const void* source, int64_t offset, int64_t count, float* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, static_cast<const float*>(source) + offset,
                static_cast<size_t>(count) * sizeof(float));
  } else if (dtype == DType::kF16) {
    const F16* values = static_cast<const F16*>(source) + offset;
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(values[i]);
  } else {
    const BF16* values = static_cast<const BF16*>(source) + offset;
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(values[i]);
  }
}

inline void store_f32(DType dtype, const float* values, int64_t count, void* target,
                      int64_t offset) {
  if (dtype == DType::kF32) {
    std::memcpy(static_cast<float*>(target) + offset, values,
                static_cast<size_t>(count) * sizeof(float));
  } else if (dtype == DType::kF16) {
    F16* out = static_cast<F16*>(target) + offset;
    for (int64_t i = 0; i < count; ++i) out[i] = to_f16(values[i]);
  } else {
    BF16* out = static_cast<BF16*>(target) + offset;
    for (int64_t i = 0; i < count; ++i) out[i] = to_bf16(values[i]);
  }
}

// Element i of a row of any float dtype.
inline float load_one(DType dtype, const void* source, int64_t i) {
  float value;
  load_f32(dtype, source, i, 1, &value);
  return value;
}

}  // namespace mlxn::kernels
