// SPDX-License-Identifier: Apache-2.0
// RMS normalisation (Zhang and Sennrich, "Root mean square layer normalization", 2019) and its
// fused forms. Throws kInvalidArgument in the words of mlxn/error.h.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

struct RmsNormArgs {
  Buffer x;                    // [rows, dim] (leading extents are folded into rows); f32, f16, bf16
  Buffer weight = {};          // [dim], any float dtype; empty: 1
  Buffer out;                  // like x; may be x itself
  float eps = 0.0f;            // added to the mean of squares; from the checkpoint
  float weight_offset = 0.0f;  // Gemma 3: 1, others 0
};

// out = x / sqrt(mean(x^2) + eps) * (weight_offset + weight), in f32, rounded once.
// Throws for dtypes, extents, sizes, overlap, an eps that is negative or not finite, and a
// weight_offset that is not finite.
MLXN_API void rms_norm(Stream& stream, const RmsNormArgs& args);

struct AddRmsNormArgs {
  Buffer residual;     // like x
  Buffer x;            // [rows, dim]; f32, f16, bf16
  Buffer weight = {};  // [dim]; empty: 1
  Buffer sum = {};     // like x; empty, residual itself or x itself
  Buffer out;          // like x
  float eps = 0.0f;
  float weight_offset = 0.0f;
};

// sum = residual + x; out = rms_norm(sum). The norm uses the f32 sum also when `sum` is 16-bit.
// Throws as rms_norm.
MLXN_API void add_rms_norm(Stream& stream, const AddRmsNormArgs& args);

struct RmsNormAddArgs {
  Buffer residual;     // like x
  Buffer x;            // [rows, dim]; f32, f16, bf16
  Buffer weight = {};  // [dim]; empty: 1
  Buffer out;          // like x; may be residual itself
  float eps = 0.0f;
  float weight_offset = 0.0f;
  float scale = 1.0f;  // multiplies the whole sum (Gemma 4's layer scalar)
};

// out = (residual + rms_norm(x)) * scale. Throws as rms_norm, and for a scale that is not finite.
MLXN_API void rms_norm_add(Stream& stream, const RmsNormAddArgs& args);

struct RmsNormMulArgs {
  Buffer x;            // [rows, dim]; f32, f16, bf16
  Buffer weight = {};  // [dim]; empty: 1
  Buffer factor;       // like x
  Buffer out;          // like x; may be x itself or factor itself
  float eps = 0.0f;
  float weight_offset = 0.0f;
};

// out = rms_norm(x) * factor, in f32, rounded once. Throws as rms_norm.
MLXN_API void rms_norm_mul(Stream& stream, const RmsNormMulArgs& args);

}  // namespace mlxn::ops
