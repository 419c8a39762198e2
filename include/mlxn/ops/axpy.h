// SPDX-License-Identifier: Apache-2.0
// A scaled row added to another.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

struct AxpyArgs {
  Buffer x;        // any shape; f32, f16, bf16
  Buffer y;        // same dtype and element count as x
  Buffer out;      // same dtype and element count as x; may be x or y itself
  float a = 1.0f;  // finite
};

// out = a * x + y: f32 product, f32 sum, rounded to the dtype once.
// Throws kInvalidArgument, in the words of mlxn/error.h, for dtypes, extents (element counts that
// differ), sizes, overlap, and an `a` that is not finite.
MLXN_API void axpy(Stream& stream, const AxpyArgs& args);

}  // namespace mlxn::ops
