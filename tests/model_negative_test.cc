// SPDX-License-Identifier: Apache-2.0
// Each test takes one feature away and requires that the comparison with the goldens fails: proof
// that the tiny models exercise the branch.
#include "golden_kit.h"

namespace mlxn {
namespace {

using namespace golden;

// Well above the tolerance of the positive tests.
constexpr double kClearlyWrong = 1e-3;

double error_of(const std::string& name, const Edits& edits) {
  const Golden golden(name);
  const auto model = build(name, exact_options(), edits);
  return relative_error(all_logits(*model, golden.prompt(0)), golden.floats("logits_0"));
}

Edits edit_config(std::function<void(ModelConfig&)> edit) {
  return {.config = {}, .weights = {}, .config_after_load = std::move(edit)};
}

Edits edit_weights(std::function<void(models::GemmaWeights&)> edit) {
  return {.config = {},
          .weights = [=](const Device&, models::GemmaWeights& w) { edit(w); },
          .config_after_load = {}};
}

void fill(const Buffer& buffer, float value) {
  for (float& x : buffer.span<float>()) x = value;
}

void expect_fails(const std::string& name, const Edits& edits) {
  EXPECT_GT(error_of(name, edits), kClearlyWrong);
}

TEST(NegativeTest, UntouchedModelsPass) {
  for (const char* name : {"gemma4_e", "gemma4_dense_null", "gemma4_moe", "gemma3"}) {
    EXPECT_LT(error_of(name, {}), 2e-4) << name;
  }
}

TEST(NegativeTest, LayerScalar) {
  expect_fails("gemma4_e", edit_weights([](auto& w) { w.layers[1].layer_scalar = 1.0f; }));
  expect_fails("gemma4_moe", edit_weights([](auto& w) { w.layers[1].layer_scalar = 1.0f; }));
}

TEST(NegativeTest, SoftmaxScale) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.softmax_scale = 0.25; }));
  expect_fails("gemma3", edit_config([](auto& c) { c.softmax_scale = 1.0 / std::sqrt(32.0); }));
}

TEST(NegativeTest, ValueNorm) {
  // The decoder norms V for Gemma 4 only; its weights do not say.
  expect_fails("gemma4_e", edit_config([](auto& c) { c.family = ModelFamily::kGemma3; }));
  expect_fails("gemma3", edit_config([](auto& c) { c.family = ModelFamily::kGemma4; }));
}

TEST(NegativeTest, NormWeightOffset) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.norm_weight_offset = 1.0f; }));
  expect_fails("gemma3", edit_config([](auto& c) { c.norm_weight_offset = 0.0f; }));
}

TEST(NegativeTest, PartialRotation) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.rope_full.partial_rotary_factor = 1.0; }));
  expect_fails("gemma4_e", edit_config([](auto& c) { c.rope_full.partial_rotary_factor = 0.125; }));
  // Exponents over the rotated width instead of the head dim: theta^(D / R) does the same.
  expect_fails("gemma4_e", edit_config([](auto& c) { c.rope_full.theta = std::pow(1e6, 4.0); }));
}

TEST(NegativeTest, RopeOfEachLayerType) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.rope_sliding.theta = 1e6; }));
  expect_fails("gemma3", edit_config([](auto& c) { c.rope_full.factor = 1.0; }));
  expect_fails("gemma3", edit_config([](auto& c) {
                 c.rope_sliding.kind = RopeKind::kLinear;
                 c.rope_sliding.factor = 8.0;
               }));
}

TEST(NegativeTest, WindowSize) {
  for (int64_t window : {3, 5}) {
    expect_fails("gemma4_e", edit_config([=](auto& c) { c.window_size = window; }));
    expect_fails("gemma3", edit_config([=](auto& c) { c.window_size = window; }));
  }
}

TEST(NegativeTest, LastLayerIsFull) {
  expect_fails("gemma4_dense_null",
               edit_config([](auto& c) { c.layers.back().type = LayerType::kSliding; }));
}

TEST(NegativeTest, SharedCachesComeFromTheLastLayerOfTheType) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.layers[3].kv_shared_from = 0; }));
}

TEST(NegativeTest, FinalSoftCap) {
  expect_fails("gemma4_e", edit_config([](auto& c) { c.final_logits_soft_cap = 0.0; }));
  expect_fails("gemma4_dense_null", edit_config([](auto& c) { c.final_logits_soft_cap = 30.0; }));
}

TEST(NegativeTest, EmbeddingScaleIsRounded) {
  expect_fails("gemma4_dense_null",
               edit_config([](auto& c) { c.embedding_scale = std::sqrt(96.0f); }));
}

TEST(NegativeTest, PerLayerInputs) {
  expect_fails("gemma4_e",
               edit_weights([](auto& w) { fill(w.layers[4].post_per_layer_input_norm, 0.0f); }));
  expect_fails("gemma4_e", edit_weights([](auto& w) { fill(w.per_layer_projection_norm, 0.0f); }));
}

TEST(NegativeTest, RouterScales) {
  expect_fails("gemma4_moe", edit_weights([](auto& w) {
                 fill(w.layers[1].moe.router_scale, 0.125f);  // 1 / sqrt(H)
               }));
  expect_fails("gemma4_moe",
               edit_weights([](auto& w) { fill(w.layers[1].moe.expert_scale, 1.0f); }));
}

TEST(NegativeTest, ExpertWeightsAreNotRenormalisedAfterScaling) {
  const Golden golden("gemma4_moe");
  const auto weights = golden.floats("router_weights_0");
  std::vector<float> renormalised = weights;
  for (size_t i = 0; i < weights.size(); i += 3) {
    const float sum = weights[i] + weights[i + 1] + weights[i + 2];
    for (size_t k = i; k < i + 3; ++k) renormalised[k] = weights[k] / sum;
  }
  EXPECT_GT(relative_error(renormalised, weights), kClearlyWrong);
}

TEST(NegativeTest, MoeNorms) {
  using Layer = models::GemmaLayerWeights;
  for (Buffer Layer::*norm : {&Layer::post_feedforward_norm_1, &Layer::pre_feedforward_norm_2,
                              &Layer::post_feedforward_norm_2, &Layer::post_feedforward_norm}) {
    expect_fails("gemma4_moe", edit_weights([=](auto& w) { fill(w.layers[2].*norm, 1.0f); }));
  }
}

TEST(NegativeTest, KeyNormAndQueryNorm) {
  expect_fails("gemma4_dense",
               edit_weights([](auto& w) { fill(w.layers[2].attention.k_norm, 1.0f); }));
  expect_fails("gemma4_dense",
               edit_weights([](auto& w) { fill(w.layers[0].attention.q_norm, 1.0f); }));
}

}  // namespace
}  // namespace mlxn
