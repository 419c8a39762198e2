// SPDX-License-Identifier: Apache-2.0
// ModelConfig from GGUF metadata.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "checkpoint/gguf_image.h"
#include "checkpoint/gguf_metadata.h"
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

TEST(GgufConfig, FileType) {
  const auto named = [](uint32_t id) {
    return gemma4().u32("general.file_type", id).load().quantization.file_type;
  };
  EXPECT_EQ(gemma4().load().quantization.file_type, "");
  EXPECT_EQ(named(0), "F32");
  EXPECT_EQ(named(15), "Q4_K_M");
  EXPECT_EQ(named(32), "BF16");
  EXPECT_EQ(named(1024 + 18), "Q6_K");  // guessed by the writer
  EXPECT_EQ(named(5), "file type 5");
  EXPECT_EQ(named(777), "file type 777");
  EXPECT_THROW(gemma4().text("general.file_type", "Q4_0").load(), Error);
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
