// SPDX-License-Identifier: Apache-2.0
// What a dequantize kernel gets.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"
#include "quant/weight_view.h"

namespace mlxn::kernels {

struct DequantizeParams {
  quant::WeightView weight;  // [num_experts, rows, cols]
  void* out;                 // [num_experts, rows, cols], dense
  DType out_dtype;
};

std::span<const Entry<DequantizeParams>> dequantize_entries();

}  // namespace mlxn::kernels
