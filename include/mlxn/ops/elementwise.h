// SPDX-License-Identifier: Apache-2.0
// Elementwise ops and softmax. All take f32, f16 or bf16 (one dtype per call, but for cast),
// compute in f32 and round once. Shapes are free where only the element counts must agree. All
// throw kInvalidArgument, in the words of mlxn/error.h, for dtypes, extents (element counts that
// differ), sizes, overlap, and scalars outside their range.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

struct BinaryArgs {
  Buffer a;
  Buffer b;    // same dtype and element count as a
  Buffer out;  // may be a or b itself
};
MLXN_API void add(Stream& stream, const BinaryArgs& args);  // out = a + b
MLXN_API void mul(Stream& stream, const BinaryArgs& args);  // out = a * b

struct ScaleArgs {
  Buffer x;
  Buffer out;           // may be x itself
  float factor = 1.0f;  // finite
};
MLXN_API void scale(Stream& stream, const ScaleArgs& args);  // out = x * factor

struct SoftcapArgs {
  Buffer x;
  Buffer out;        // may be x itself
  float cap = 0.0f;  // > 0
};
// out = cap * tanh(x / cap); +-infinity gives +-cap.
MLXN_API void softcap(Stream& stream, const SoftcapArgs& args);

// GELU: Hendrycks and Gimpel (2016); gated units: Shazeer, "GLU variants improve transformer"
// (2020).
enum class Activation : uint8_t {
  kGeluTanh,  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  kGeluErf,   // 0.5 x (1 + erf(x / sqrt 2))
  kSilu,      // x / (1 + exp(-x))
  kSigmoid,   // 1 / (1 + exp(-x))
};

struct GluArgs {
  Buffer gate;     // [.., I]; or packed [.., 2 I] with up empty: gate first, up second
  Buffer up = {};  // [.., I]
  Buffer out;      // [.., I]; may be gate or up itself (separate form)
  Activation activation = Activation::kSilu;
};
// out = activation(gate) * up, elementwise; activation(-infinity) is 0. Throws for packed rows of
// odd length too.
MLXN_API void glu(Stream& stream, const GluArgs& args);

struct CastArgs {
  Buffer x;    // f32, f16, bf16
  Buffer out;  // f32, f16, bf16, same element count
};
// out = x as out's dtype, rounded to nearest even; what is beyond its range becomes infinity.
MLXN_API void cast(Stream& stream, const CastArgs& args);

struct SoftmaxArgs {
  Buffer x;    // [.., cols], leading extents folded into rows
  Buffer out;  // like x; may be x itself
};
// out = exp(x - max) / sum exp(x - max) per row; a row of -infinity gives zeros; a row with
// +infinity or NaN gives NaN.
MLXN_API void softmax(Stream& stream, const SoftmaxArgs& args);

}  // namespace mlxn::ops
