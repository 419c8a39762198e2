// SPDX-License-Identifier: Apache-2.0
// ModelConfig from GGUF metadata.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "checkpoint/gguf_image.h"
#include "checkpoint/test_util.h"
#include "mlxn/model_config.h"

namespace mlxn::checkpoint {
namespace {

TEST(GgufConfig, Gemma4WrittenByThePackage) {
  const ModelConfig c = load_model_config(testdata("gemma4.gguf"));
  EXPECT_EQ(c.family, ModelFamily::kGemma4);
  EXPECT_EQ(c.model_name, "tiny gemma 4");
  EXPECT_EQ(c.vocab_size, 32);
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.num_heads, 2);
  ASSERT_EQ(c.num_layers(), 2);
  EXPECT_EQ(c.layers[0].type, LayerType::kSliding);
  EXPECT_EQ(c.layers[1].type, LayerType::kFull);
  EXPECT_EQ(c.layers[0].head_dim, 8);
  EXPECT_EQ(c.layers[1].head_dim, 16);
  EXPECT_FALSE(c.layers[0].k_eq_v);
  EXPECT_TRUE(c.layers[1].k_eq_v);  // the file has no attn_v there
  EXPECT_EQ(c.layers[1].num_kv_heads, 1);
  EXPECT_EQ(c.layers[1].intermediate_size, 64);
  EXPECT_EQ(c.window_size, 4);
  EXPECT_EQ(c.softmax_scale, 1.0);
  EXPECT_EQ(c.final_logits_soft_cap, 30.0);
  EXPECT_EQ(c.moe.num_experts, 2);
  EXPECT_EQ(c.moe.top_k, 1);
  EXPECT_EQ(c.moe.intermediate_size, 32);
  EXPECT_EQ(c.per_layer_input_size, 0);
  EXPECT_EQ(c.rope_sliding.theta, 1e4);
  EXPECT_EQ(c.rope_full.theta, 1e6);
  EXPECT_EQ(rope_divisors(c.rope_full, 16),
            (std::vector<float>{1, 1, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f}));
  EXPECT_EQ(c.norm_weight_offset, 0.0f);
  EXPECT_EQ(c.float_dtype, DType::kF32);
  EXPECT_EQ(c.embedding_scale, 8.0f);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{1, 6}));  // 6 is the control token <turn|>
  EXPECT_EQ(c.bos_token_id, 2);
  EXPECT_EQ(c.pad_token_id, 0);
  EXPECT_EQ(c.suppress_tokens, (std::vector<int64_t>{8, 9}));
  EXPECT_EQ(c.sampling.temperature, 1.0);
  EXPECT_EQ(c.sampling.top_k, 64);
  EXPECT_NEAR(*c.sampling.top_p, 0.95, 1e-6);
}

TEST(GgufConfig, Gemma3WrittenByThePackage) {
  const ModelConfig c = load_model_config(testdata("gemma3.gguf"));
  EXPECT_EQ(c.family, ModelFamily::kGemma3);
  ASSERT_EQ(c.num_layers(), 6);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(c.layers[i].type, i == 5 ? LayerType::kFull : LayerType::kSliding);
    EXPECT_FALSE(c.layers[i].k_eq_v);
  }
  EXPECT_DOUBLE_EQ(c.softmax_scale, 1 / std::sqrt(8.0));
  EXPECT_EQ(c.rope_full.kind, RopeKind::kLinear);
  EXPECT_EQ(c.rope_full.factor, 8.0);
  EXPECT_EQ(c.rope_full.theta, 1e6);
  EXPECT_EQ(c.rope_sliding.kind, RopeKind::kDefault);
  EXPECT_EQ(c.rope_sliding.theta, 1e4);
  EXPECT_EQ(c.norm_weight_offset, 0.0f);
}

// Metadata of a model without weights; a test changes one key at a time.
class Metadata {
 public:
  explicit Metadata(const std::string& architecture) : arch_(architecture) {
    text("general.architecture", architecture);
    u32("block_count", 4).u32("embedding_length", 64).u32("context_length", 512);
    u32("feed_forward_length", 96).u32("attention.head_count", 4).u32("vocab_size", 100);
    u32("attention.key_length", 16).u32("attention.sliding_window", 4);
    if (architecture == "gemma4") {
      u32("attention.key_length_swa", 8);
      array("attention.sliding_window_pattern", 7, 4, std::string("\1\0\1\0", 4));
    }
  }
  Metadata& u32(const std::string& key, uint32_t value) { return set(key, 4, raw(value)); }
  Metadata& f32(const std::string& key, float value) { return set(key, 6, raw(value)); }
  Metadata& text(const std::string& key, const std::string& value) {
    return set(key, 8, gguf_string(value));
  }
  Metadata& array(const std::string& key, uint32_t type, uint64_t count, const std::string& data) {
    return set(key, 9, raw(type) + raw(count) + data);
  }
  Metadata& u32s(const std::string& key, const std::vector<uint32_t>& values) {
    std::string data;
    for (uint32_t value : values) data += raw(value);
    return array(key, 4, values.size(), data);
  }
  Metadata& erase(const std::string& key) {
    pairs_.erase(full(key));
    return *this;
  }
  Metadata& without_rope_freqs() {
    rope_freqs_ = 0;
    return *this;
  }
  Metadata& rope_freqs(uint64_t count, float value) {
    rope_freqs_ = count;
    rope_value_ = value;
    return *this;
  }
  ModelConfig load() const {
    GgufImage image;
    for (const auto& [key, value] : pairs_) image.pair(key, value.first, value.second);
    const bool has_freqs = arch_ == "gemma4" && rope_freqs_ > 0;
    if (has_freqs) image.tensor("rope_freqs.weight", {rope_freqs_}, 0, 0);
    std::string bytes = image.build();
    for (uint64_t i = 0; has_freqs && i < rope_freqs_; ++i) bytes += raw(rope_value_);
    const TempDir dir;
    return load_model_config(dir.write("m.gguf", bytes));
  }

 private:
  std::string full(const std::string& key) const {
    const bool is_absolute = key.rfind("general.", 0) == 0 || key.rfind("tokenizer.", 0) == 0;
    return is_absolute ? key : arch_ + "." + key;
  }
  Metadata& set(const std::string& key, uint32_t type, const std::string& value) {
    pairs_[full(key)] = {type, value};
    return *this;
  }

  std::string arch_;
  std::map<std::string, std::pair<uint32_t, std::string>> pairs_;
  uint64_t rope_freqs_ = 8;
  float rope_value_ = 1.0f;
};

Metadata gemma4() { return Metadata("gemma4"); }
Metadata gemma3() { return Metadata("gemma3"); }

TEST(GgufConfig, PerLayerArraysAndSharing) {
  const ModelConfig c = gemma4()
                            .u32s("feed_forward_length", {96, 96, 192, 192})
                            .u32s("attention.head_count_kv", {4, 1, 4, 1})
                            .u32("attention.shared_kv_layers", 2)
                            .u32("embedding_length_per_layer_input", 32)
                            .load();
  EXPECT_EQ(c.layers[2].intermediate_size, 192);
  EXPECT_EQ(c.layers[0].num_kv_heads, 4);
  EXPECT_EQ(c.layers[1].num_kv_heads, 1);
  EXPECT_EQ(c.layers[2].kv_shared_from, 0);
  EXPECT_EQ(c.layers[3].kv_shared_from, 1);
  EXPECT_TRUE(c.layers[1].k_eq_v);
  EXPECT_FALSE(c.layers[3].k_eq_v);
  EXPECT_EQ(c.per_layer_input_size, 32);
  EXPECT_EQ(c.per_layer_input_vocab_size, 100);
}

TEST(GgufConfig, Gemma3Variants) {
  // No window: every layer is full.
  for (const LayerConfig& layer : gemma3().erase("attention.sliding_window").load().layers) {
    EXPECT_EQ(layer.type, LayerType::kFull);
  }
  EXPECT_EQ(gemma3().f32("rope.freq_base_swa", 5e3f).load().rope_sliding.theta, 5e3);
  EXPECT_EQ(gemma3().erase("attention.key_length").load().layers[0].head_dim, 16);
  // 62 layers is the 27B model, whose scale follows from the width.
  const ModelConfig large = gemma3().u32("block_count", 62).u32("attention.key_length", 8).load();
  EXPECT_DOUBLE_EQ(large.softmax_scale, 1 / std::sqrt(16.0));
  EXPECT_EQ(gemma3()
                .array("attention.head_count", 5, 4, raw(4) + raw(4) + raw(4) + raw(4))
                .load()
                .num_heads,
            4);
}

TEST(GgufConfig, RejectsEveryBrokenRule) {
  const auto config = ErrorKind::kConfig, gguf = ErrorKind::kGguf;
  struct Bad {
    Metadata metadata;
    ErrorKind kind;
    std::string mentions;
  };
  const std::vector<Bad> cases = {
      {Metadata("llama"), config, "gemma3 or gemma4"},
      {gemma4().erase("block_count"), config, "gemma4.block_count"},
      {gemma4().u32("block_count", 0), gguf, "gemma4.block_count"},
      {gemma4().u32("block_count", 4000000000u), gguf, "gemma4.block_count"},
      {gemma4().text("block_count", "four"), gguf, "gemma4.block_count"},
      {gemma4().erase("embedding_length"), config, "gemma4.embedding_length"},
      {gemma4().u32("embedding_length", 0), gguf, "gemma4.embedding_length"},
      {gemma4().erase("context_length"), config, "gemma4.context_length"},
      {gemma4().erase("feed_forward_length"), config, "gemma4.feed_forward_length"},
      {gemma4().u32s("feed_forward_length", {96, 96}), config, "feed_forward_length"},
      {gemma4().u32s("feed_forward_length", {96, 96, 96, 0}), gguf, "feed_forward_length[3]"},
      {gemma4().erase("attention.head_count"), config, "attention.head_count"},
      {gemma4().u32s("attention.head_count", {4, 4, 4, 8}), config, "attention.head_count"},
      {gemma4().u32s("attention.head_count_kv", {4, 4, 4}), config, "attention.head_count_kv"},
      {gemma4().u32s("attention.head_count_kv", {4, 4, 4, 3}), config, "num_key_value_heads"},
      {gemma4().u32("attention.key_length", 1024), gguf, "attention.key_length"},
      {gemma4().u32("attention.key_length_swa", 12), config, "head_dim of layer 0"},
      {gemma4().u32("attention.value_length", 8), config, "attention.value_length"},
      {gemma4().u32("rope.dimension_count", 8), config, "rope.dimension_count"},
      {gemma4().u32("rope.dimension_count_swa", 16), config, "rope.dimension_count_swa"},
      {gemma4().erase("attention.sliding_window"), config, "sliding_window"},
      {gemma4().erase("attention.sliding_window_pattern"), config, "sliding_window_pattern"},
      {gemma4().u32("attention.sliding_window_pattern", 6), gguf, "sliding_window_pattern"},
      {gemma4().array("attention.sliding_window_pattern", 7, 2, std::string("\1\0", 2)), config,
       "sliding_window_pattern"},
      {gemma4().u32("attention.shared_kv_layers", 4), config, "num_kv_shared_layers"},
      {gemma4().u32("attention.shared_kv_layers", 3), config, "num_kv_shared_layers"},
      {gemma4().without_rope_freqs(), config, "rope_freqs"},
      {gemma4().rope_freqs(4, 1.0f), gguf, "rope_freqs"},
      {gemma4().rope_freqs(8, 0.0f), config, "rope_freqs"},
      {gemma4().rope_freqs(8, NAN), config, "rope_freqs"},
      {gemma4().f32("rope.freq_base", 0.0f), config, "rope_theta"},
      {gemma4().f32("rope.freq_base", INFINITY), gguf, "rope.freq_base"},
      {gemma4().text("rope.scaling.type", "yarn"), config, "rope.scaling.type"},
      {gemma4().f32("attention.layer_norm_rms_epsilon", -1.0f), config, "rms_norm_eps"},
      {gemma4().f32("final_logit_softcapping", -1.0f), config, "final_logit_softcapping"},
      {gemma4().u32("expert_count", 8), config, "expert_used_count"},
      {gemma4().u32("expert_count", 8).u32("expert_used_count", 9), gguf, "expert_used_count"},
      {gemma4().u32("expert_count", 8).u32("expert_used_count", 2), config,
       "expert_feed_forward_length"},
      {gemma4().u32("tokenizer.ggml.eos_token_id", 100), config, "eos_token_id"},
      {gemma4().text("tokenizer.ggml.eos_token_id", "1"), gguf, "eos_token_id"},
      {gemma4().f32("general.sampling.top_p", 2.0f), config, "top_p"},
      {gemma4().erase("vocab_size"), config, "vocab_size"},
      {gemma3().u32("attention.head_count_kv", 3), config, "num_key_value_heads"},
      {gemma3().text("rope.scaling.type", "linear").f32("rope.scaling.factor", 0.0f), config,
       "factor"},
  };
  EXPECT_NO_THROW(gemma4().load());
  EXPECT_NO_THROW(gemma3().load());
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(std::to_string(i) + " " + cases[i].mentions);
    expect_error([&] { cases[i].metadata.load(); }, cases[i].kind, cases[i].mentions);
  }
}

TEST(GgufConfig, TokensMustFitTheEmbedding) {
  const std::string tokens = gguf_string("a") + gguf_string("b") + gguf_string("c");
  GgufImage image;
  image.text("general.architecture", "gemma3").array("tokenizer.ggml.tokens", 8, 3, tokens);
  for (const auto& [key, value] : std::map<std::string, uint32_t>{{"block_count", 1},
                                                                  {"embedding_length", 8},
                                                                  {"context_length", 8},
                                                                  {"feed_forward_length", 8},
                                                                  {"attention.head_count", 1}}) {
    image.u32("gemma3." + key, value);
  }
  const TempDir dir;
  GgufImage small = image, fits = image;
  const auto bad = dir.write("bad.gguf", small.tensor("token_embd.weight", {8, 2}, 0, 0).build(64));
  expect_error([&] { load_model_config(bad); }, ErrorKind::kConfig, "3 tokens");
  const auto good =
      dir.write("good.gguf", fits.tensor("token_embd.weight", {8, 5}, 0, 0).build(160));
  EXPECT_EQ(load_model_config(good).vocab_size, 5);
  EXPECT_EQ(load_model_config(dir.write("meta.gguf", image.build())).vocab_size, 3);
}

}  // namespace
}  // namespace mlxn::checkpoint
