// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace mlxn::kernels {

// Elements that ExpSum (exp_sum-inl.h) adds up in f32 before it goes on in double.
inline constexpr int64_t kExpSumBlock = 1024;

}  // namespace mlxn::kernels
