// SPDX-License-Identifier: Apache-2.0
#include "mlxn/model_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "checkpoint/config.h"
#include "checkpoint/test_util.h"

namespace mlxn::checkpoint {
namespace {

// Tiny Gemma 4 with per-layer inputs, shared KV and a double-wide MLP.
const std::string kE = R"({"model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"],
 "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
 "global_head_dim": 32, "num_global_key_value_heads": null, "attention_k_eq_v": false, "attention_bias": false,
 "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
 "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                 "sliding_attention", "sliding_attention", "full_attention"],
 "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                     "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                        "partial_rotary_factor": 0.25}},
 "num_kv_shared_layers": 3, "use_double_wide_mlp": true, "hidden_size_per_layer_input": 32,
 "vocab_size_per_layer_input": 256, "enable_moe_block": false, "final_logit_softcapping": 30.0,
 "tie_word_embeddings": true, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1})";

const std::string kMoe = R"({"model_type": "gemma4_text", "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "moe_intermediate_size": 32, "enable_moe_block": true, "num_experts": 8, "top_k_experts": 3,
 "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "num_global_key_value_heads": 1,
 "attention_k_eq_v": true, "head_dim": 16, "global_head_dim": 32, "hidden_activation": "gelu_pytorch_tanh",
 "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "sliding_window": 4,
 "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
 "num_kv_shared_layers": 0, "use_double_wide_mlp": false, "hidden_size_per_layer_input": 0,
 "final_logit_softcapping": 30.0, "tie_word_embeddings": true, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1})";

const std::string kGemma3 = R"({"model_type": "gemma3_text", "vocab_size": 256, "hidden_size": 64,
 "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
 "query_pre_attn_scalar": 24, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
 "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 4, "sliding_window_pattern": 3,
 "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "eos_token_id": [1, 106], "dtype": "bfloat16"})";

// The text with `from`, which must be there, replaced.
std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// Adds or replaces keys: the object's opening brace is followed by `fields`.
std::string adding(const std::string& text, const std::string& fields) {
  return "{" + fields + "," + text.substr(1);
}

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

struct BadConfig {
  std::string text;
  std::string mentions;
};

TEST(ModelConfig, RejectsEveryBrokenRule) {
  const auto e = [](const char* from, const char* to) { return with(kE, from, to); };
  const auto moe = [](const char* from, const char* to) { return with(kMoe, from, to); };
  const auto g3 = [](const char* from, const char* to) { return with(kGemma3, from, to); };
  const std::vector<BadConfig> cases = {
      {"[]", "an object"},
      {"{}", "model_type"},
      {R"({"model_type":"llama"})", "gemma3 or gemma4"},
      {R"({"model_type":3})", "model_type"},
      {R"({"model_type":"gemma4"})", "text_config"},
      {R"({"model_type":"gemma4","text_config":[]})", "text_config"},
      {R"({"model_type":"gemma4","text_config":{"model_type":"gemma3_text"}})", "model_type"},
      {e(R"("hidden_size": 64)", R"("hidden_size": 0)"), "hidden_size"},
      {e(R"("hidden_size": 64)", R"("hidden_size": "64")"), "hidden_size"},
      {e(R"("hidden_size": 64)", R"("hidden_size": 64.5)"), "hidden_size"},
      {e(R"("hidden_size": 64)", R"("hidden_size": 9223372036854775807)"), "hidden_size"},
      {e(R"("vocab_size": 256)", R"("vocab_size": -1)"), "vocab_size"},
      {e(R"("intermediate_size": 96)", R"("intermediate_size": 0)"), "intermediate_size"},
      {e(R"("num_hidden_layers": 6)", R"("num_hidden_layers": 0)"), "num_hidden_layers"},
      {e(R"("num_hidden_layers": 6)", R"("num_hidden_layers": 1000000)"), "num_hidden_layers"},
      {e(R"("num_hidden_layers": 6)", R"("num_hidden_layers": 7)"), "layer_types"},
      {e(R"("num_attention_heads": 4)", R"("num_attention_heads": 3)"), "num_key_value_heads"},
      {e(R"("num_key_value_heads": 2)", R"("num_key_value_heads": 8)"), "num_key_value_heads"},
      {e(R"("head_dim": 16)", R"("head_dim": 12)"), "head_dim"},
      {e(R"("global_head_dim": 32)", R"("global_head_dim": 520)"), "global_head_dim"},
      {e(R"("global_head_dim": 32)", R"("global_head_dim": 20)"), "head_dim of layer 2"},
      {e(R"("attention_bias": false)", R"("attention_bias": true)"), "attention_bias"},
      {e("gelu_pytorch_tanh", "silu"), "hidden_activation"},
      {e(R"("rms_norm_eps": 1e-6)", R"("rms_norm_eps": 0)"), "rms_norm_eps"},
      {e(R"("rms_norm_eps": 1e-6)", R"("rms_norm_eps": "x")"), "rms_norm_eps"},
      {e(R"("sliding_window": 4)", R"("sliding_window": 0)"), "sliding_window"},
      {e(R"("layer_types": ["sliding_attention")", R"("layer_types": ["chunked_attention")"),
       "layer_types[0]"},
      {e(R"("layer_types": ["sliding_attention")", R"("layer_types": [3)"), "layer_types[0]"},
      {e(R"("rope_type": "default")", R"("rope_type": "yarn")"),
       "rope_parameters.sliding_attention.rope_type"},
      {e(R"("rope_theta": 10000.0)", R"("rope_theta": -1)"),
       "rope_parameters.sliding_attention.rope_theta"},
      {e(R"("partial_rotary_factor": 0.25)", R"("partial_rotary_factor": 1.5)"),
       "partial_rotary_factor"},
      {e(R"("partial_rotary_factor": 0.25)", R"("factor": 0)"), "factor"},
      {e(R"("rope_theta": 10000.0)", R"("rope_theta": 1e4, "partial_rotary_factor": 0.5)"),
       "partial_rotary_factor"},
      {e(R"("num_kv_shared_layers": 3)", R"("num_kv_shared_layers": 6)"), "num_kv_shared_layers"},
      {e(R"("num_kv_shared_layers": 3)", R"("num_kv_shared_layers": 5)"), "num_kv_shared_layers"},
      {e(R"("num_kv_shared_layers": 3)", R"("num_kv_shared_layers": -1)"), "num_kv_shared_layers"},
      {e(R"("hidden_size_per_layer_input": 32)", R"("hidden_size_per_layer_input": -1)"),
       "hidden_size_per_layer_input"},
      {e(R"("vocab_size_per_layer_input": 256)", R"("vocab_size_per_layer_input": 0)"),
       "vocab_size_per_layer_input"},
      {e(R"("final_logit_softcapping": 30.0)", R"("final_logit_softcapping": -2)"),
       "final_logit_softcapping"},
      {e(R"("eos_token_id": 1)", R"("eos_token_id": 256)"), "eos_token_id"},
      {e(R"("eos_token_id": 1)", R"("eos_token_id": [1, "x"])"), "eos_token_id[1]"},
      {e(R"("bos_token_id": 2)", R"("bos_token_id": 999)"), "bos_token_id"},
      {e(R"("tie_word_embeddings": true)", R"("tie_word_embeddings": 1)"), "tie_word_embeddings"},
      {e(R"("max_position_embeddings": 512)", R"("max_position_embeddings": 0)"),
       "max_position_embeddings"},
      {adding(kE, R"("use_bidirectional_attention":"all")"), "use_bidirectional_attention"},
      {adding(kE, R"("per_layer_config":[])"), "per_layer_config"},
      {adding(kE, R"("per_layer_config":{"6":{"head_dim":32}})"), "per_layer_config"},
      {adding(kE, R"("per_layer_config":{"x":{"head_dim":32}})"), "per_layer_config"},
      {adding(kE, R"("per_layer_config":{"1":{"sliding_window":8}})"), "per_layer_config.1"},
      {adding(kE, R"("per_layer_config":{"5":{"head_dim":32}})"), "num_kv_shared_layers"},
      {moe(R"("num_experts": 8, )", ""), "num_experts"},
      {moe(R"("top_k_experts": 3,)", ""), "top_k_experts"},
      {moe(R"("top_k_experts": 3)", R"("top_k_experts": 9)"), "top_k_experts"},
      {moe(R"("moe_intermediate_size": 32, )", ""), "moe_intermediate_size"},
      {moe(R"("enable_moe_block": true)", R"("enable_moe_block": "yes")"), "enable_moe_block"},
      {g3(R"("query_pre_attn_scalar": 24)", R"("query_pre_attn_scalar": 0)"),
       "query_pre_attn_scalar"},
      {g3(R"("sliding_window_pattern": 3)", R"("sliding_window_pattern": 0)"),
       "sliding_window_pattern"},
      {g3(R"("sliding_window": 4)", R"("sliding_window": null)"), "sliding_window"},
      {g3(R"("rope_type": "linear")", R"("rope_type": "dynamic")"), "rope_scaling.rope_type"},
      {g3(R"("rope_theta": 1000000.0)", R"("rope_theta": 0)"), "rope_theta"},
      {adding(kGemma3, R"("use_bidirectional_attention":true)"), "use_bidirectional_attention"},
  };
  for (const BadConfig& bad : cases) {
    SCOPED_TRACE(bad.text.substr(0, 400));
    expect_error([&] { read(bad.text); }, ErrorKind::kConfig, bad.mentions);
  }
}

TEST(ModelConfig, RejectsBadGenerationConfigs) {
  for (const auto& [text, mentions] : std::vector<std::pair<std::string, std::string>>{
           {R"({"temperature":-1})", "temperature"},
           {R"({"temperature":"hot"})", "temperature"},
           {R"({"top_p":0})", "top_p"},
           {R"({"top_p":1.5})", "top_p"},
           {R"({"top_k":-3})", "top_k"},
           {R"({"suppress_tokens":[256]})", "suppress_tokens"},
           {R"({"do_sample":1})", "do_sample"}}) {
    SCOPED_TRACE(text);
    expect_error([&, t = text] { read(kE, t); }, ErrorKind::kConfig, mentions);
  }
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
