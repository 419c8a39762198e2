// SPDX-License-Identifier: Apache-2.0
// Router and experts: of each chosen expert its weight and down(gelu_tanh(gate(u)) * up(u)), which
// moe_combine joins.
#pragma once

#include "mlxn/checkpoint.h"
#include "mlxn/stream.h"

namespace mlxn::models {

struct MoeWeights {
  Buffer router_scale;  // f32 [H]: router.scale / sqrt(H), the weight of the router's norm
  Weight router;        // [E, H]
  Buffer expert_scale;  // f32 [E]
  ExpertWeights experts;
};

struct MoeScratch {
  Buffer router_input;  // [T, H]: the residual stream normed with router_scale
  Buffer expert_input;  // [T, H]: u
  Buffer logits;        // [T, E]
  Buffer ids;           // u32 [T, top_k]
  Buffer weights;       // f32 [T, top_k]
  Buffer gate_up;       // [T, top_k, 2 * Ie]
  Buffer hidden;        // [T, top_k, Ie]
  Buffer down;          // [T, top_k, H]
};

// Scores scratch.router_input; fills scratch.ids and scratch.weights.
void route(Stream& stream, const MoeWeights& weights, const MoeScratch& scratch);

// scratch.expert_input -> scratch.down through the experts that route() chose.
void run_experts(Stream& stream, const MoeWeights& weights, const MoeScratch& scratch);

}  // namespace mlxn::models
