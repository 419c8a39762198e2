// SPDX-License-Identifier: Apache-2.0
// What an embed kernel gets.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"
#include "quant/weight_view.h"

namespace mlxn::kernels {

struct EmbedParams {
  quant::WeightView table;  // [1, rows, cols]
  const int32_t* ids;       // [count]; read when the work runs
  void* out;                // [count, cols], dense
  int64_t count;
  DType out_dtype;
  float scale;
};

std::span<const Entry<EmbedParams>> embed_entries();

}  // namespace mlxn::kernels
