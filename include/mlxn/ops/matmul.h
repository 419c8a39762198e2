// SPDX-License-Identifier: Apache-2.0
// y = x W^T for weights of every format (ops/dequantize.h), and the same with an expert per row.
#pragma once

#include "mlxn/buffer.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::ops {

struct MatmulArgs {
  Buffer x;              // [.., K], leading extents folded into M rows; f32, f16, bf16
  Weight weight;         // [N, K]
  Buffer out;            // [.., N]; f32 or the dtype of x
  Buffer residual = {};  // optional, like out: added to the product in f32
};

// out[m, n] = sum_k x[m, k] w[n, k] (+ residual[m, n]), f32 accumulation. With integer formats each
// 32 activations of a row may be rounded to 15-bit integers under a common scale, two 8-bit digits
// for integer dot products; the error of one is at most 2^-15 of the largest magnitude among them.
// CUDA may multiply floats as one or two f16 terms, of x under a power of two of each row, of f32
// and bf16 weights of each 64 elements: what is lost of one is at most 2^-22 of it and 2^-39 of the
// largest magnitude among them; weights of 2^100 and more may overflow there.
// A row's bits do not depend on how many rows are beside it, nor on the thread count. A NaN or
// infinity in x makes the outputs of its row not finite and touches no other row. residual may be
// out itself.
// Throws kInvalidArgument, in the words of mlxn/error.h: extents, dtypes, sizes, K that is not a
// multiple of the block, a weight with experts or whose parts disagree, overlap.
MLXN_API void matmul(Stream& stream, const MatmulArgs& args);

struct ExpertMatmulArgs {
  Buffer x;       // [T, K]; with per_slot_input [T, top_k, K]; f32, f16, bf16
  Weight weight;  // [E, N, K]
  Buffer ids;     // u32 [T, top_k]; an id >= E gives a zero row and reads nothing
  Buffer out;     // [T, top_k, N]; f32 or the dtype of x
  bool per_slot_input = false;
};

// out[t, s, :] = x[t (, s), :] W[ids[t, s]]^T, each row the same bits as matmul with that expert;
// on CUDA within the tolerance of matmul where K is beyond 9984 and the GPU has 99 KiB of
// threadgroup memory (163 KiB: 19712, 227 KiB: 33024). ids are read when the work runs. Throws as
// matmul, and for a weight without experts.
MLXN_API void expert_matmul(Stream& stream, const ExpertMatmulArgs& args);

}  // namespace mlxn::ops
