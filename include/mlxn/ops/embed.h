// SPDX-License-Identifier: Apache-2.0
// Rows of a token table.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

struct EmbedArgs {
  Weight table;  // [V, D], any format
  Buffer ids;    // i32 or u32 [T]; an id outside 0 .. V-1, or from 2^31 on, gives a row of zeros
                 // and reads nothing
  Buffer out;    // [T, D] f32, f16, bf16
  float scale = 1.0f;
};

// out[t, :] = scale * table[ids[t], :], dequantised and scaled in f32, rounded once.
// Throws kInvalidArgument, in the words of mlxn/error.h: extents, dtypes, sizes, overlap, a scale
// that is not finite, a table that is a stack of experts or whose parts disagree.
MLXN_API void embed(Stream& stream, const EmbedArgs& args);

}  // namespace mlxn::ops
