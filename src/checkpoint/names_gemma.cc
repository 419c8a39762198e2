// SPDX-License-Identifier: Apache-2.0
// Tensor names of the Gemma family.
#include <array>

#include "checkpoint/names.h"

namespace mlxn::checkpoint {
namespace {

constexpr NameScope kModel = NameScope::kModel;
constexpr NameScope kLayer = NameScope::kLayer;
constexpr NameKind kMatrix = NameKind::kMatrix;
constexpr NameKind kPlain = NameKind::kPlain;

// Gemma 3 has the first kGemma3Rows; Gemma 4 has all.
constexpr std::array<NameRow, 34> kGemmaRows = {{
    {kModel, kMatrix, "embed_tokens", "token_embd.weight"},
    {kModel, kMatrix, "lm_head", "output.weight"},
    {kModel, kPlain, "norm.weight", "output_norm.weight"},
    {kLayer, kPlain, "input_layernorm.weight", "attn_norm.weight"},
    {kLayer, kPlain, "post_attention_layernorm.weight", "post_attention_norm.weight"},
    {kLayer, kPlain, "pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {kLayer, kPlain, "post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {kLayer, kMatrix, "self_attn.q_proj", "attn_q.weight"},
    {kLayer, kMatrix, "self_attn.k_proj", "attn_k.weight"},
    {kLayer, kMatrix, "self_attn.v_proj", "attn_v.weight"},
    {kLayer, kMatrix, "self_attn.o_proj", "attn_output.weight"},
    {kLayer, kPlain, "self_attn.q_norm.weight", "attn_q_norm.weight"},
    {kLayer, kPlain, "self_attn.k_norm.weight", "attn_k_norm.weight"},
    {kLayer, kMatrix, "mlp.gate_proj", "ffn_gate.weight"},
    {kLayer, kMatrix, "mlp.up_proj", "ffn_up.weight"},
    {kLayer, kMatrix, "mlp.down_proj", "ffn_down.weight"},
    // Gemma 4 from here.
    {kModel, kMatrix, "embed_tokens_per_layer", "per_layer_token_embd.weight"},
    {kModel, kMatrix, "per_layer_model_projection", "per_layer_model_proj.weight"},
    {kModel, kPlain, "per_layer_projection_norm.weight", "per_layer_proj_norm.weight"},
    {kModel, kPlain, "rope_freqs", "rope_freqs.weight"},
    {kLayer, kPlain, "layer_scalar", "layer_output_scale.weight"},
    {kLayer, kMatrix, "per_layer_input_gate", "inp_gate.weight"},
    {kLayer, kMatrix, "per_layer_projection", "proj.weight"},
    {kLayer, kPlain, "post_per_layer_input_norm.weight", "post_norm.weight"},
    {kLayer, kMatrix, "router.proj", "ffn_gate_inp.weight"},
    {kLayer, kPlain, "router.scale", "ffn_gate_inp.scale"},
    {kLayer, kPlain, "router.per_expert_scale", "ffn_down_exps.scale"},
    {kLayer, kMatrix, "experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {kLayer, kMatrix, "experts.gate_proj", "ffn_gate_exps.weight", "experts.switch_glu.gate_proj"},
    {kLayer, kMatrix, "experts.up_proj", "ffn_up_exps.weight", "experts.switch_glu.up_proj"},
    {kLayer, kMatrix, "experts.down_proj", "ffn_down_exps.weight", "experts.switch_glu.down_proj"},
    {kLayer, kPlain, "post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"},
    {kLayer, kPlain, "pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"},
    {kLayer, kPlain, "post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"},
}};
constexpr size_t kGemma3Rows = 16;

}  // namespace

std::span<const NameRow> name_rows(ModelFamily family) {
  const std::span<const NameRow> rows(kGemmaRows);
  return family == ModelFamily::kGemma3 ? rows.first(kGemma3Rows) : rows;
}

}  // namespace mlxn::checkpoint
