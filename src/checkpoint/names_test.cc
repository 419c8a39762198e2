// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/names.h"

#include <gtest/gtest.h>

#include <set>

namespace mlxn::checkpoint {
namespace {

using Names = std::set<std::string, std::less<>>;

NameMap map_over(ModelFamily family, bool is_gguf, Names names) {
  return NameMap(family, is_gguf, [names](std::string_view name) { return names.count(name) > 0; });
}

TEST(Names, FindsThePrefixOfTheTextDecoder) {
  for (const char* prefix :
       {"model.", "model.language_model.", "language_model.model.", "language_model.", ""}) {
    const std::string p = prefix;
    const NameMap map =
        map_over(ModelFamily::kGemma4, false,
                 {p + "embed_tokens.weight", p + "norm.weight", p + "layers.3.layer_scalar",
                  p + "layers.3.self_attn.q_proj.weight", p + "layers.3.experts.gate_up_proj"});
    EXPECT_EQ(map.prefix(), p);
    EXPECT_EQ(map.plain("norm.weight"), p + "norm.weight");
    EXPECT_EQ(map.plain("layers.3.layer_scalar"), p + "layers.3.layer_scalar");
    EXPECT_EQ(map.module("layers.3.self_attn.q_proj")->weight,
              p + "layers.3.self_attn.q_proj.weight");
    EXPECT_EQ(map.module("layers.3.self_attn.q_proj")->path, p + "layers.3.self_attn.q_proj");
    EXPECT_EQ(map.module("layers.3.experts.gate_up_proj")->weight,
              p + "layers.3.experts.gate_up_proj");
    EXPECT_FALSE(map.module("layers.4.self_attn.q_proj").has_value());
  }
}

TEST(Names, ConvertedExperts) {
  const NameMap map =
      map_over(ModelFamily::kGemma4, false,
               {"language_model.model.embed_tokens.weight",
                "language_model.model.layers.0.experts.switch_glu.up_proj.weight",
                "language_model.model.layers.0.experts.switch_glu.down_proj.weight"});
  EXPECT_EQ(map.module("layers.0.experts.up_proj")->path,
            "language_model.model.layers.0.experts.switch_glu.up_proj");
  EXPECT_EQ(map.module("layers.0.experts.down_proj")->weight,
            "language_model.model.layers.0.experts.switch_glu.down_proj.weight");
  EXPECT_FALSE(map.module("layers.0.experts.gate_up_proj").has_value());
}

TEST(Names, TheHeadMayStandBesideTheDecoder) {
  for (const char* head : {"lm_head.weight", "language_model.lm_head.weight"}) {
    const NameMap map =
        map_over(ModelFamily::kGemma3, false, {"language_model.model.embed_tokens.weight", head});
    EXPECT_EQ(map.module("lm_head")->weight, head);
    EXPECT_TRUE(map.is_known(head));
  }
}

TEST(Names, Gguf) {
  Names all;
  for (const NameRow& row : name_rows(ModelFamily::kGemma4)) {
    all.insert(row.scope == NameScope::kLayer ? "blk.11." + std::string(row.gguf)
                                              : std::string(row.gguf));
  }
  const NameMap map = map_over(ModelFamily::kGemma4, true, all);
  EXPECT_EQ(map.module("embed_tokens")->weight, "token_embd.weight");
  EXPECT_EQ(map.module("lm_head")->weight, "output.weight");
  EXPECT_EQ(map.plain("norm.weight"), "output_norm.weight");
  EXPECT_EQ(map.plain("layers.11.post_attention_layernorm.weight"),
            "blk.11.post_attention_norm.weight");
  EXPECT_EQ(map.plain("layers.11.pre_feedforward_layernorm.weight"), "blk.11.ffn_norm.weight");
  EXPECT_EQ(map.plain("layers.11.layer_scalar"), "blk.11.layer_output_scale.weight");
  EXPECT_EQ(map.plain("layers.11.router.per_expert_scale"), "blk.11.ffn_down_exps.scale");
  EXPECT_EQ(map.plain("layers.11.router.scale"), "blk.11.ffn_gate_inp.scale");
  EXPECT_EQ(map.module("layers.11.router.proj")->weight, "blk.11.ffn_gate_inp.weight");
  EXPECT_EQ(map.module("layers.11.experts.gate_up_proj")->weight, "blk.11.ffn_gate_up_exps.weight");
  EXPECT_EQ(map.module("layers.11.experts.gate_proj")->weight, "blk.11.ffn_gate_exps.weight");
  EXPECT_EQ(map.module("embed_tokens_per_layer")->weight, "per_layer_token_embd.weight");
  EXPECT_EQ(map.module("layers.11.per_layer_projection")->weight, "blk.11.proj.weight");
  EXPECT_FALSE(map.module("layers.0.self_attn.q_proj").has_value());
  for (const std::string& name : all) EXPECT_TRUE(map.is_known(name)) << name;
  EXPECT_FALSE(map.is_known("blk.0.attn_qkv.weight"));
  EXPECT_FALSE(map.is_known("blk.x.attn_q.weight"));
}

TEST(Names, EveryRowIsUnique) {
  std::set<std::pair<NameScope, std::string_view>> canonical, gguf;
  for (const NameRow& row : name_rows(ModelFamily::kGemma4)) {
    EXPECT_TRUE(canonical.insert({row.scope, row.canonical}).second) << row.canonical;
    EXPECT_TRUE(gguf.insert({row.scope, row.gguf}).second) << row.gguf;
    EXPECT_FALSE(row.canonical.empty() || row.gguf.empty());
  }
}

TEST(Names, KindsDoNotMix) {
  const NameMap map =
      map_over(ModelFamily::kGemma4, false, {"model.embed_tokens.weight", "model.norm.weight"});
  EXPECT_FALSE(map.module("norm.weight").has_value());
  EXPECT_FALSE(map.plain("embed_tokens").has_value());
  EXPECT_FALSE(map.plain("no.such.tensor").has_value());
}

TEST(Names, Gemma3HasNoGemma4Tensors) {
  const NameMap map = map_over(ModelFamily::kGemma3, false, {"model.embed_tokens.weight"});
  EXPECT_TRUE(map.is_known("model.layers.0.mlp.up_proj.weight"));
  EXPECT_TRUE(map.is_known("model.layers.0.mlp.up_proj.scales"));
  EXPECT_FALSE(map.is_known("model.layers.0.mlp.up_proj.bias"));
  EXPECT_FALSE(map.is_known("model.layers.0.layer_scalar"));
  EXPECT_FALSE(map.is_known("language_model.layers.0.mlp.up_proj.weight"));
}

TEST(Names, KnowsWhatToLeaveOut) {
  EXPECT_TRUE(is_ignorable("model.vision_tower.encoder.layers.0.weight"));
  EXPECT_TRUE(is_ignorable("multi_modal_projector.mm_input_projection_weight"));
  EXPECT_TRUE(is_ignorable("model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_TRUE(is_ignorable("model.layers.0.mlp.up_proj.input_max"));
  EXPECT_FALSE(is_ignorable("model.layers.0.mlp.up_proj.weight"));
}

}  // namespace
}  // namespace mlxn::checkpoint
