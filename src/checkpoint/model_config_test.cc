// SPDX-License-Identifier: Apache-2.0
#include "mlxn/model_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "checkpoint/config.h"
#include "checkpoint/test_configs.h"
#include "checkpoint/test_util.h"

namespace mlxn::checkpoint {
namespace {

ModelConfig read(const std::string& config, const std::string& generation = "") {
  return config_from_json(
      Json::parse(config, "config.json"),
      generation.empty() ? Json() : Json::parse(generation, "generation_config.json"));
}

std::string types_of(const ModelConfig& c) {
  std::string out;
  for (const LayerConfig& layer : c.layers) out += layer.type == LayerType::kFull ? 'F' : 's';
  return out;
}

TEST(ModelConfig, Gemma4SharedKvAndPerLayerInputs) {
  const ModelConfig c = read(kE);
  EXPECT_EQ(c.family, ModelFamily::kGemma4);
  EXPECT_EQ(types_of(c), "ssFssF");
  const std::vector<int64_t> sources = {-1, -1, -1, 1, 1, 2};
  for (size_t i = 0; i < 6; ++i) {
    const LayerConfig& layer = c.layers[i];
    EXPECT_EQ(layer.kv_shared_from, sources[i]) << i;
    EXPECT_EQ(layer.intermediate_size, i < 3 ? 96 : 192) << i;
    EXPECT_EQ(layer.head_dim, layer.type == LayerType::kFull ? 32 : 16) << i;
    EXPECT_EQ(layer.num_kv_heads, 2) << i;
    EXPECT_FALSE(layer.k_eq_v);
  }
  EXPECT_EQ(c.per_layer_input_size, 32);
  EXPECT_EQ(c.per_layer_input_vocab_size, 256);
  EXPECT_EQ(c.window_size, 4);
  EXPECT_EQ(c.softmax_scale, 1.0);
  EXPECT_EQ(c.final_logits_soft_cap, 30.0);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.norm_weight_offset, 0.0f);
  EXPECT_EQ(c.embedding_scale, 8.0f);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{1});
  EXPECT_EQ(c.bos_token_id, 2);
  EXPECT_EQ(c.pad_token_id, 0);
  EXPECT_EQ(c.moe.num_experts, 0);
  EXPECT_EQ(c.rope_full.kind, RopeKind::kProportional);
  EXPECT_EQ(c.rope_full.theta, 1e6);
  EXPECT_EQ(c.rope_sliding.kind, RopeKind::kDefault);
  EXPECT_EQ(c.rope_sliding.theta, 1e4);
  EXPECT_TRUE(rope_divisors(c.rope_sliding, 16).empty());
  const auto divisors = rope_divisors(c.rope_full, 32);
  ASSERT_EQ(divisors.size(), 16u);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(divisors[i], i < 4 ? 1.0f : std::numeric_limits<float>::infinity()) << i;
  }
}

TEST(ModelConfig, Gemma4KEqualsV) {
  std::string text = with(kE, R"("num_key_value_heads": 2)", R"("num_key_value_heads": 4)");
  text = with(text, R"("num_global_key_value_heads": null, "attention_k_eq_v": false)",
              R"("num_global_key_value_heads": 1, "attention_k_eq_v": true)");
  text = with(text, R"("num_kv_shared_layers": 3)", R"("num_kv_shared_layers": 0)");
  text = with(text, R"("hidden_size_per_layer_input": 32)", R"("hidden_size_per_layer_input": 0)");
  text = with(text, R"("final_logit_softcapping": 30.0)", R"("final_logit_softcapping": null)");
  // The last layer becomes full whatever the list says.
  text = with(text, R"("sliding_attention", "full_attention"],)",
              R"("sliding_attention", "sliding_attention"],)");
  const ModelConfig c = read(text);
  EXPECT_EQ(types_of(c), "ssFssF");
  for (const LayerConfig& layer : c.layers) {
    const bool full = layer.type == LayerType::kFull;
    EXPECT_EQ(layer.num_kv_heads, full ? 1 : 4);
    EXPECT_EQ(layer.k_eq_v, full);
    EXPECT_EQ(layer.kv_shared_from, -1);
    EXPECT_EQ(layer.intermediate_size, 96);
  }
  EXPECT_EQ(c.final_logits_soft_cap, 0.0);
  EXPECT_EQ(c.per_layer_input_size, 0);
  // Without k_eq_v the global KV head count has no effect.
  const ModelConfig plain =
      read(with(text, R"("attention_k_eq_v": true)", R"("attention_k_eq_v": false)"));
  EXPECT_EQ(plain.layers[2].num_kv_heads, 4);
}

TEST(ModelConfig, Gemma4Moe) {
  const ModelConfig c = read(kMoe);
  EXPECT_EQ(c.moe.num_experts, 8);
  EXPECT_EQ(c.moe.top_k, 3);
  EXPECT_EQ(c.moe.intermediate_size, 32);
  EXPECT_EQ(types_of(c), "sFsF");
  EXPECT_EQ(c.layers[1].num_kv_heads, 1);
  EXPECT_TRUE(c.layers[1].k_eq_v);
  EXPECT_EQ(c.rope_full.kind, RopeKind::kProportional);  // no rope_parameters: the defaults
  EXPECT_EQ(c.rope_full.partial_rotary_factor, 0.25);
  EXPECT_EQ(c.rope_full.theta, 1e6);
}

TEST(ModelConfig, PerLayerConfigWinsOverGlobalKeys) {
  const ModelConfig c = read(adding(
      kMoe,
      R"("per_layer_config":{"1":{"head_dim":64,"num_key_value_heads":2},"3":{"head_dim":8}})"));
  EXPECT_EQ(c.layers[1].head_dim, 64);
  EXPECT_EQ(c.layers[1].num_kv_heads, 2);
  EXPECT_EQ(c.layers[3].head_dim, 8);
  EXPECT_EQ(c.layers[3].num_kv_heads, 2);
  EXPECT_EQ(c.layers[0].head_dim, 16);
}

TEST(ModelConfig, Gemma4Defaults) {
  const ModelConfig c = read(R"({"model_type":"gemma4_text"})");
  EXPECT_EQ(c.vocab_size, 262144);
  EXPECT_EQ(c.hidden_size, 2304);
  EXPECT_EQ(c.num_layers(), 30);
  EXPECT_EQ(types_of(c), "sssssFsssssFsssssFsssssFsssssF");
  EXPECT_EQ(c.num_heads, 8);
  EXPECT_EQ(c.layers[0].head_dim, 256);
  EXPECT_EQ(c.layers[5].head_dim, 512);
  EXPECT_EQ(c.layers[5].num_kv_heads, 4);
  EXPECT_EQ(c.layers[0].intermediate_size, 9216);
  EXPECT_EQ(c.window_size, 512);
  EXPECT_EQ(c.max_position_embeddings, 131072);
  EXPECT_EQ(c.per_layer_input_size, 256);
  EXPECT_EQ(c.per_layer_input_vocab_size, 262144);
  EXPECT_EQ(c.final_logits_soft_cap, 0.0);
  EXPECT_EQ(read(R"({"model_type":"gemma4_text","global_head_dim":0})").layers[5].head_dim, 256);
  EXPECT_EQ(read(R"({"model_type":"gemma4_text","global_head_dim":null})").layers[5].head_dim, 256);
}

TEST(ModelConfig, WrapperNestsTheDecoder) {
  const std::string wrapper = R"({"model_type":"gemma4","vocab_size":300,"eos_token_id":[1,50],
      "tie_word_embeddings":false,"dtype":"bfloat16","text_config":)" +
                              with(kE, R"("tie_word_embeddings": true, )", "") + "}";
  const ModelConfig c =
      read(wrapper, R"({"eos_token_id":[106,1],"do_sample":true,"temperature":0.7,"top_k":64,
                        "top_p":0.95,"suppress_tokens":[9,7,9]})");
  EXPECT_EQ(c.model_type, "gemma4");
  EXPECT_EQ(c.vocab_size, 256);  // the nested value
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{1, 50, 106}));
  EXPECT_EQ(c.suppress_tokens, (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(c.sampling.temperature, 0.7);
  EXPECT_EQ(c.sampling.top_k, 64);
  EXPECT_EQ(c.sampling.top_p, 0.95);
  EXPECT_EQ(c.float_dtype, DType::kBF16);
  EXPECT_EQ(read(kE, R"({"do_sample":false,"temperature":0.7})").sampling.temperature, 0.0);
  EXPECT_FALSE(read(kE, "{}").sampling.temperature.has_value());
}

TEST(ModelConfig, EmbeddingScaleIsRoundedToTheFloatType) {
  const std::vector<std::pair<int64_t, float>> bf16_scales = {
      {1536, 39.25f}, {2560, 50.5f}, {2816, 53.0f}, {3840, 62.0f}, {5376, 73.5f}, {1152, 34.0f}};
  ModelConfig c;
  for (const auto& [hidden, scale] : bf16_scales) {
    c.hidden_size = hidden;
    set_float_dtype(c, DType::kBF16);
    EXPECT_EQ(c.embedding_scale, scale) << hidden;
    set_float_dtype(c, DType::kF32);
    EXPECT_EQ(c.embedding_scale, std::sqrt(static_cast<float>(hidden))) << hidden;
  }
  c.hidden_size = 2560;
  set_float_dtype(c, DType::kF16);
  EXPECT_EQ(c.embedding_scale, 50.59375f);
}

TEST(ModelConfig, Gemma3) {
  const ModelConfig c = read(kGemma3);
  EXPECT_EQ(c.family, ModelFamily::kGemma3);
  EXPECT_EQ(types_of(c), "ssFssF");
  EXPECT_DOUBLE_EQ(c.softmax_scale, 1 / std::sqrt(24.0));
  EXPECT_EQ(c.norm_weight_offset, 1.0f);
  EXPECT_EQ(c.rope_full.kind, RopeKind::kLinear);
  EXPECT_EQ(c.rope_full.theta, 1e6);
  EXPECT_EQ(c.rope_full.factor, 8.0);
  EXPECT_EQ(c.rope_sliding.kind, RopeKind::kDefault);
  EXPECT_EQ(c.rope_sliding.theta, 1e4);
  EXPECT_EQ(rope_divisors(c.rope_full, 32), std::vector<float>(16, 8.0f));
  EXPECT_EQ(c.layers[0].head_dim, 32);
  EXPECT_EQ(c.layers[2].head_dim, 32);
  EXPECT_EQ(c.final_logits_soft_cap, 0.0);
  EXPECT_EQ(c.per_layer_input_size, 0);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{1, 106}));
}

TEST(ModelConfig, Gemma3NewRopeParameters) {
  std::string text =
      with(kGemma3, R"("rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,)", "");
  text = with(
      text, R"("rope_scaling": {"rope_type": "linear", "factor": 8.0},)",
      R"("rope_parameters": {"full_attention": {"type": "linear", "factor": 4, "rope_theta": 5e5},
                 "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}},)");
  const ModelConfig c = read(text);
  EXPECT_EQ(c.rope_full.kind, RopeKind::kLinear);
  EXPECT_EQ(c.rope_full.factor, 4.0);
  EXPECT_EQ(c.rope_full.theta, 5e5);
  EXPECT_EQ(c.rope_sliding.theta, 2e4);
  EXPECT_EQ(types_of(read(with(kGemma3, R"("sliding_window_pattern": 3)",
                               R"("layer_types": ["sliding_attention","full_attention",
      "full_attention","full_attention","full_attention","sliding_attention"])"))),
            "sFFFFs");  // Gemma 3 does not force the last layer
}

TEST(ModelConfig, LoadsFromFiles) {
  const ModelConfig raw = load_model_config(testdata("gemma4_raw"));
  EXPECT_EQ(raw.eos_token_ids, (std::vector<int64_t>{1, 5, 6}));
  EXPECT_EQ(raw.suppress_tokens, (std::vector<int64_t>{8, 9}));
  EXPECT_EQ(load_model_config(testdata("gemma4_raw/config.json")).sampling.top_k, 64);
  const ModelConfig mlx = load_model_config(testdata("gemma4_mlx/config.json"));
  EXPECT_EQ(mlx.quantization.bits, 4);
  EXPECT_EQ(mlx.quantization.group_size, 32);
  EXPECT_EQ(load_model_config(testdata("gemma4.gguf")).moe.num_experts, 2);
  expect_error([] { load_model_config("/nowhere/config.json"); }, ErrorKind::kIo, "/nowhere");
  expect_error([] { load_model_config("/nowhere"); }, ErrorKind::kIo, "/nowhere");
}

}  // namespace
}  // namespace mlxn::checkpoint
