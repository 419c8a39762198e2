// SPDX-License-Identifier: Apache-2.0
// A weight as plain floats. What the formats mean: src/quant/README.md. GGUF's blocks are those of
// ggml (docs/gguf.md and ggml-quants.c there); affine is MLX's: scale * code + bias per group of a
// row; mxfp4 and mxfp8 are small floats under a power of two, after the OCP Microscaling Formats
// (MX) specification 1.0 (2023); nvfp4 has E2M1 codes under an E4M3 scale per 16.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

struct DequantizeArgs {
  Weight weight;  // [N, K] or [E, N, K], any format
  Buffer out;     // the weight's shape; f32, f16, bf16
};

// out = the elements of weight, row by row: evaluated in f32 in the order in which the format is
// defined, the product with the scale first, each operation rounded, no fused multiply-add; then
// rounded once to out's dtype. Throws kInvalidArgument, in the words of mlxn/error.h, for dtypes,
// extents, sizes, overlap, and a weight whose buffers, format and shape disagree.
MLXN_API void dequantize(Stream& stream, const DequantizeArgs& args);

}  // namespace mlxn::ops
