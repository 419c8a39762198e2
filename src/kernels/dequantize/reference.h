// SPDX-License-Identifier: Apache-2.0
// The oracle of dequantize: the scalar decoder of the format, which src/quant holds to the bits of
// gguf and mlx. The contract is f32 evaluation in a stated order, so it is exact.
#pragma once

#include <vector>

#include "kernels/dequantize/params.h"

namespace mlxn::kernels {

inline std::vector<float> dequantize_reference(const quant::WeightView& weight) {
  std::vector<float> out(static_cast<size_t>(weight.num_experts * weight.rows * weight.cols));
  for (int64_t row = 0; row < weight.num_experts * weight.rows; ++row) {
    quant::decode_row(weight, row, out.data() + row * weight.cols);
  }
  return out;
}

}  // namespace mlxn::kernels
