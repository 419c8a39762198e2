// SPDX-License-Identifier: Apache-2.0
// Routing of tokens to experts and combining what they return.
#pragma once

#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

enum class RouteMode : uint8_t {
  kSoftmaxTopK,  // p = softmax over all experts; w = p_selected / sum p_selected; w *= expert_scale
  kTopKSoftmax,  // w = softmax over the selected logits; w *= expert_scale; w /= sum w
};

struct MoeRouteArgs {
  Buffer logits;             // f32 [T, E]
  Buffer expert_scale = {};  // f32 [E]; empty: 1
  Buffer ids;                // u32 [T, top_k], by descending logit, ties: lower index first
  Buffer weights;            // f32 [T, top_k]
  RouteMode mode = RouteMode::kSoftmaxTopK;
  // kSoftmaxTopK only: divide by the sum of the selected probabilities (Qwen3's norm_topk_prob).
  bool renormalize = true;
};

// 1 <= top_k <= min(E, 64), E <= 1024. NaN logits are selected last with weight 0; -infinity has
// weight 0; +infinity makes all weights of its token NaN; a sum of 0 gives weights of 0. No expert
// is selected twice. Throws kInvalidArgument: extents, dtypes, sizes, overlap.
MLXN_API void moe_route(Stream& stream, const MoeRouteArgs& args);

struct MoeCombineArgs {
  Buffer y;                 // [T, top_k, D] f32, f16, bf16
  Buffer weights;           // f32 [T, top_k]
  Buffer shared = {};       // optional [T, D], dtype of y: output of a shared expert
  Buffer shared_gate = {};  // f32 [T], the logit of its gate; empty: 1
  Buffer residual = {};     // optional [T, D], dtype of y
  Buffer out;               // [T, D], dtype of y; may be shared or residual itself
};

// out[t] = sum_j weights[t, j] y[t, j] (+ sigmoid(shared_gate[t]) shared[t]) (+ residual[t]), j
// ascending, f32, rounded once. Throws kInvalidArgument: extents, dtypes, sizes, overlap.
MLXN_API void moe_combine(Stream& stream, const MoeCombineArgs& args);

// What lies between two layers' matmuls: a branch joins the residual stream through a norm, and the
// stream is normed for what reads it next.
struct ResidualNormsArgs {
  // A branch of two, x and experts; left empty, join.x is the branch.
  MoeCombineArgs combine = {};
  RmsNormArgs x_norm = {};
  RmsNormAddArgs experts_norm = {};  // of combine.out, with x_norm.out as residual
  RmsNormAddArgs join;               // of experts_norm.out
  std::vector<RmsNormArgs> normed;   // of join.out; at most 3
};

// The calls in this order, to the bit; outs that a later call reads are working memory, but for
// join.out. One kernel on GPUs if all is f32, dim at most 8192 and the calls are linked as above.
// Throws as they do, for more than 3 normed, and for a join.out or normed.out that overlaps what
// is read, but for join.residual and the operand of its own norm.
MLXN_API void residual_norms(Stream& stream, const ResidualNormsArgs& args);

}  // namespace mlxn::ops
