// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/moe.h"

#include "ops/fused.h"

namespace mlxn::models {

void route(Stream& stream, const MoeWeights& weights, const MoeScratch& scratch) {
  ops::matmul(stream, {.x = scratch.router_input, .weight = weights.router, .out = scratch.logits});
  ops::moe_route(stream, {.logits = scratch.logits,
                          .expert_scale = weights.expert_scale,
                          .ids = scratch.ids,
                          .weights = scratch.weights});
}

void run_experts(Stream& stream, const MoeWeights& weights, const MoeScratch& scratch) {
  const ExpertWeights& experts = weights.experts;
  ops::JointMatmulArgs gate_up;
  gate_up.glu = {
      .gate = scratch.gate_up, .out = scratch.hidden, .activation = ops::Activation::kGeluTanh};
  const auto add = [&](const Weight& weight, const Buffer& out) {
    gate_up.expert_parts.push_back(
        {.x = scratch.expert_input, .weight = weight, .ids = scratch.ids, .out = out});
  };
  if (experts.is_fused()) {
    add(experts.gate_up, scratch.gate_up);
  } else {
    // The two halves of the fused buffer serve as gate and up.
    const Shape shape = scratch.hidden.shape();
    const int64_t count = scratch.hidden.element_count();
    const size_t half = scratch.hidden.byte_len();
    gate_up.glu.gate = scratch.gate_up.slice(0, count).reshape(shape);
    gate_up.glu.up = scratch.gate_up.slice(half, count).reshape(shape);
    add(experts.gate, gate_up.glu.gate);
    add(experts.up, gate_up.glu.up);
  }
  ops::joint_matmul(stream, gate_up);
  ops::expert_matmul(stream, {.x = scratch.hidden,
                              .weight = experts.down,
                              .ids = scratch.ids,
                              .out = scratch.down,
                              .per_slot_input = true});
}

}  // namespace mlxn::models
