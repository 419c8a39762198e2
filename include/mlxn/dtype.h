// SPDX-License-Identifier: Apache-2.0
// Element types of buffers and the two 16-bit float formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mlxn/export.h"

namespace mlxn {

enum class DType : uint8_t { kF32, kF16, kBF16, kU8, kU16, kU32, kI32 };

inline constexpr DType f32 = DType::kF32;
inline constexpr DType f16 = DType::kF16;
inline constexpr DType bf16 = DType::kBF16;
inline constexpr DType u8 = DType::kU8;
inline constexpr DType u16 = DType::kU16;
inline constexpr DType u32 = DType::kU32;
inline constexpr DType i32 = DType::kI32;

// Bytes per element: 4, 2, 2, 1, 2, 4, 4.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kU32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kU16:
      return 2;
    case DType::kU8:
      return 1;
  }
  return 0;
}

constexpr bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// "f32", "f16", "bf16", "u8", "u16", "u32", "i32".
MLXN_API std::string_view name(DType dtype);

// IEEE binary16 and bfloat16 as stored. Conversions round to nearest, ties to even; f32 values
// beyond the range of f16 become infinity; NaN stays NaN; f16 subnormals are produced.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

MLXN_API float to_float(F16 value);
MLXN_API float to_float(BF16 value);
MLXN_API F16 to_f16(float value);
MLXN_API BF16 to_bf16(float value);

}  // namespace mlxn
