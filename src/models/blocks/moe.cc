// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/moe.h"

#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/matmul.h"
#include "mlxn/ops/moe.h"
#include "mlxn/ops/rms_norm.h"

namespace mlxn::models {

void route(Stream& stream, const MoeWeights& weights, const Buffer& r, float eps,
           const MoeScratch& scratch) {
  ops::rms_norm(stream,
                {.x = r, .weight = weights.router_scale, .out = scratch.normed, .eps = eps});
  ops::matmul(stream, {.x = scratch.normed, .weight = weights.router, .out = scratch.logits});
  ops::moe_route(stream, {.logits = scratch.logits,
                          .expert_scale = weights.expert_scale,
                          .ids = scratch.ids,
                          .weights = scratch.weights});
}

void run_experts(Stream& stream, const MoeWeights& weights, const Buffer& u,
                 const MoeScratch& scratch, const Buffer& out) {
  constexpr auto kGelu = ops::Activation::kGeluTanh;
  const ExpertWeights& experts = weights.experts;
  if (experts.is_fused()) {
    ops::expert_matmul(
        stream, {.x = u, .weight = experts.gate_up, .ids = scratch.ids, .out = scratch.gate_up});
    ops::glu(stream, {.gate = scratch.gate_up, .out = scratch.hidden, .activation = kGelu});
  } else {
    // The two halves of the fused buffer serve as gate and up.
    const Shape shape = scratch.hidden.shape();
    const int64_t count = scratch.hidden.element_count();
    const size_t half = scratch.hidden.byte_len();
    const Buffer gate = scratch.gate_up.slice(0, count).reshape(shape);
    const Buffer up = scratch.gate_up.slice(half, count).reshape(shape);
    ops::expert_matmul(stream, {.x = u, .weight = experts.gate, .ids = scratch.ids, .out = gate});
    ops::expert_matmul(stream, {.x = u, .weight = experts.up, .ids = scratch.ids, .out = up});
    ops::glu(stream, {.gate = gate, .up = up, .out = scratch.hidden, .activation = kGelu});
  }
  ops::expert_matmul(stream, {.x = scratch.hidden,
                              .weight = experts.down,
                              .ids = scratch.ids,
                              .out = scratch.down,
                              .per_slot_input = true});
  ops::moe_combine(stream, {.y = scratch.down, .weights = scratch.weights, .out = out});
}

}  // namespace mlxn::models
