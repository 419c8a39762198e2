// SPDX-License-Identifier: Apache-2.0
// Activation buffers of a decoder, all f32 unless stated, allocated once for the largest step.
#pragma once

#include <cstdint>

#include "models/blocks/attention.h"
#include "models/blocks/mlp.h"
#include "models/blocks/moe.h"
#include "models/gemma/plan.h"

namespace mlxn::models {

// Values of the decode step that change between replays of its graph.
struct StepState {
  Buffer tokens;     // i32 [B]: input of the next step; the sampler writes here
  Buffer positions;  // i32 [B]
  Buffer kv_len;     // i32 [B]: positions + 1
};

class Scratch {
 public:
  Scratch(const Device& device, const ScratchPlan& plan, int64_t num_layers);

  // Views for `rows` rows.
  Buffer x(int64_t rows) const { return x_.rows(0, rows); }            // residual stream
  Buffer normed(int64_t rows) const { return normed_.rows(0, rows); }  // [rows, H]
  Buffer branch(int64_t rows) const { return branch_.rows(0, rows); }  // [rows, H]
  Buffer branch2(int64_t rows) const { return branch2_.rows(0, rows); }
  Buffer logits(int64_t rows) const { return logits_.rows(0, rows); }
  AttentionScratch attention(int64_t rows, const AttentionShape& shape) const;
  MlpScratch mlp(int64_t rows, int64_t width) const;
  MoeScratch moe(int64_t rows) const;

  Buffer ids(int64_t rows) const { return ids_.rows(0, rows); }              // i32, prefill
  Buffer positions(int64_t rows) const { return positions_.rows(0, rows); }  // i32, prefill

  // [rows, L * P] each.
  Buffer per_layer_inputs(int64_t rows) const { return per_layer_inputs_.rows(0, rows); }
  Buffer per_layer_context(int64_t rows) const { return per_layer_context_.rows(0, rows); }
  // [rows, P] each.
  Buffer per_layer_gate(int64_t rows) const { return per_layer_gate_.rows(0, rows); }
  Buffer per_layer_input(int64_t rows) const { return per_layer_input_.rows(0, rows); }
  // i32 [rows]: row numbers of layer `layer` in per_layer_inputs seen as [rows * L, P], from the
  // first_row-th token on.
  Buffer per_layer_index(int64_t layer, int64_t first_row, int64_t rows) const;

  StepState& step() { return step_; }
  uint64_t byte_len() const { return bytes_; }

 private:
  Buffer alloc(const Device& device, DType dtype, const Shape& shape);
  void fill_index(const Device& device, int64_t num_layers);

  ScratchPlan plan_;
  uint64_t bytes_ = 0;
  Buffer x_, normed_, branch_, branch2_, logits_;
  Buffer q_, k_, v_, attention_out_;
  Buffer gate_, up_;
  Buffer router_input_, expert_input_, router_logits_, expert_ids_, expert_weights_,
      expert_gate_up_, expert_hidden_, expert_down_;
  Buffer ids_, positions_;
  Buffer per_layer_inputs_, per_layer_context_, per_layer_gate_, per_layer_input_, per_layer_index_;
  StepState step_;
};

}  // namespace mlxn::models
