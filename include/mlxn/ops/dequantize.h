// SPDX-License-Identifier: Apache-2.0
// A weight as plain floats.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

struct DequantizeArgs {
  Weight weight;  // [N, K] or [E, N, K], any format
  Buffer out;     // the weight's shape; f32, f16, bf16
};

// Evaluated in f32 in the order its format document gives, rounded once to out's dtype.
// Throws kInvalidArgument: extents, dtypes, sizes, overlap.
MLXN_API void dequantize(Stream& stream, const DequantizeArgs& args);

}  // namespace mlxn::ops
