// SPDX-License-Identifier: Apache-2.0
// Routing of tokens to experts and combining what they return (Shazeer et al., "Outrageously large
// neural networks: the sparsely-gated mixture-of-experts layer", 2017). Throws kInvalidArgument in
// the words of mlxn/error.h.
#pragma once

#include "mlxn/buffer.h"
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

// ids[t] = the experts of the top_k largest logits[t], weights[t] = w of the mode, all in f32.
// 1 <= top_k <= min(E, 64), E <= 1024. NaN logits are selected last with weight 0; -infinity has
// weight 0; +infinity makes all weights of its token NaN; a sum of 0 gives weights of 0. No expert
// is selected twice. Throws for extents, these limits included, dtypes, sizes, overlap, and a mode
// that is none.
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
// ascending, f32, rounded once. Throws for extents, dtypes, sizes, overlap, and a shared_gate
// without shared.
MLXN_API void moe_combine(Stream& stream, const MoeCombineArgs& args);

}  // namespace mlxn::ops
