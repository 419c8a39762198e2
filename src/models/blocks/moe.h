// SPDX-License-Identifier: Apache-2.0
// Router and experts: out = sum over the chosen experts of weight * down(gelu_tanh(gate(u)) *
// up(u)).
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
  Buffer normed;   // [T, H]
  Buffer logits;   // [T, E]
  Buffer ids;      // u32 [T, top_k]
  Buffer weights;  // f32 [T, top_k]
  Buffer gate_up;  // [T, top_k, 2 * Ie]
  Buffer hidden;   // [T, top_k, Ie]
  Buffer down;     // [T, top_k, H]
};

// Scores the un-normed residual r [T, H]; fills scratch.ids and scratch.weights.
void route(Stream& stream, const MoeWeights& weights, const Buffer& r, float eps,
           const MoeScratch& scratch);

// u [T, H] -> out [T, H] through the experts that route() chose.
void run_experts(Stream& stream, const MoeWeights& weights, const Buffer& u,
                 const MoeScratch& scratch, const Buffer& out);

}  // namespace mlxn::models
