// SPDX-License-Identifier: Apache-2.0
// Values of one byte, as the scales of MLX's fp modes have them.
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

// An E4M3 value: bias 7, no infinities.
GPU_FN float e4m3_value(uint code) {
  const uint exponent = (code >> 3) & 15, mantissa = code & 7;
  if ((code & 127) == 127) return NAN;
  const float magnitude = exponent == 0 ? float(mantissa) * 0.001953125f
                                        : as_float((exponent + 120) << 23 | mantissa << 20);
  return (code & 128) != 0 ? -magnitude : magnitude;
}
// 2^(e - 127); 255 is not a number.
GPU_FN float e8m0_value(uint e) {
  return e == 255 ? NAN : as_float(e == 0 ? 0x00400000u : e << 23);
}

GPU_LIBRARY_END
