// SPDX-License-Identifier: Apache-2.0
// Rows that are not quantised: f32, f16 or bf16, little-endian. Addresses may have any alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mlxn::quant {

// decode widens exactly; encode rounds to nearest, ties to even, and lets NaN and infinities
// through.
void decode_row_f32(const std::byte* row, int64_t k, float* out);
void decode_row_f16(const std::byte* row, int64_t k, float* out);
void decode_row_bf16(const std::byte* row, int64_t k, float* out);
void encode_row_f32(const float* in, int64_t k, std::byte* row);
void encode_row_f16(const float* in, int64_t k, std::byte* row);
void encode_row_bf16(const float* in, int64_t k, std::byte* row);

}  // namespace mlxn::quant
