// SPDX-License-Identifier: Apache-2.0
// Memory: what the arithmetic says is what gets allocated.
#include "models/gemma/plan.h"

#include <gtest/gtest.h>

#include "models/model_impl.h"
#include "models/test_config.h"

namespace mlxn {
namespace {

constexpr int64_t k128k = 131072;

// One layer's cache by hand: K and V, kv_heads * slots * head_dim elements each.
uint64_t layer_bytes(int64_t batch, int64_t kv_heads, int64_t slots, int64_t head_dim,
                     int64_t element) {
  return static_cast<uint64_t>(2 * batch * kv_heads * slots * head_dim * element);
}

TEST(PlanTest, CachesOf128kContext) {
  ModelConfig config = models::test_config();
  config.max_position_embeddings = k128k;
  const ModelOptions options{
      .max_context = k128k, .batch = 1, .kv_type = f16, .prefill_chunk = 512};
  // window 4 + chunk 512 - 1 = 515, rounded up to 576. Layers 3 to 5 own no cache.
  const uint64_t sliding = layer_bytes(1, 2, 576, 16, 2);
  const uint64_t full = layer_bytes(1, 2, k128k, 32, 2);
  EXPECT_EQ(estimate_memory(config, options).caches, 2 * sliding + full);
}

TEST(PlanTest, WhatIsAllocatedIsWhatWasEstimated) {
  const Device device = Device::open("cpu", {.num_threads = 1});
  ModelConfig config = models::test_config();
  config.max_position_embeddings = k128k;
  for (int batch : {1, 3}) {
    for (const KvTypes& types : std::vector<KvTypes>{{f32, f32},
                                                     {f16, f16},
                                                     {bf16, bf16},
                                                     {KvType::tq(4), KvType::tq(4)},
                                                     {KvType::tq(8), KvType::tq(3)}}) {
      SCOPED_TRACE(name(types));
      const ModelOptions options{.max_context = batch == 1 ? k128k : 1000,
                                 .batch = batch,
                                 .kv_type = types.k,
                                 .kv_type_v = types.v,
                                 .prefill_chunk = 64};
      const ModelMemory estimate = estimate_memory(config, options);
      const size_t before = device.allocated_bytes();
      const Model model = Model::random(device, config, 32, 64, options);
      EXPECT_EQ(model.kv_bytes(), estimate.caches);
      EXPECT_EQ(model.memory().scratch, estimate.scratch);
      // Beyond the sums there are only tables of RoPE frequencies and the rounding of each
      // allocation to 64 bytes.
      const size_t held = device.allocated_bytes() - before;
      EXPECT_GE(held, model.memory().total());
      EXPECT_LT(held, model.memory().total() + 4096);
    }
  }
}

TEST(PlanTest, ALongerContextCostsExactlyItsCaches) {
  ModelConfig config = models::test_config();
  config.max_position_embeddings = k128k;
  const auto held_by = [&](const ModelOptions& options) {
    const Device device = Device::open("cpu", {.num_threads = 1});
    const Model model = Model::random(device, config, 32, 64, options);
    return device.allocated_bytes();
  };
  const ModelOptions shorter{.max_context = k128k / 2};
  const ModelOptions longer{.max_context = k128k};
  const uint64_t full_layer = layer_bytes(1, 2, k128k / 2, 32, 2);
  EXPECT_EQ(held_by(longer) - held_by(shorter), full_layer);
  EXPECT_EQ(estimate_memory(config, longer).total() - estimate_memory(config, shorter).total(),
            full_layer);
}

TEST(PlanTest, CheckpointEstimateEqualsTheLoadedModel) {
  const Device device = Device::open("cpu", {.num_threads = 1});
  for (const char* name : {"gemma4_e_mlx4", "gemma4_moe_q8_0"}) {
    const Checkpoint checkpoint =
        Checkpoint::open(std::string(MLXN_SOURCE_DIR) + "/tests/goldens/" + name);
    for (bool prepare : {true, false}) {
      ModelOptions options;
      options.prepare = prepare;
      const ModelMemory estimate = estimate_memory(device, checkpoint, options);
      const ModelMemory loaded = Model::load(device, checkpoint, options).memory();
      EXPECT_EQ(estimate.weights, loaded.weights) << name;
      EXPECT_EQ(estimate.prepared, loaded.prepared) << name;
      EXPECT_EQ(estimate.total(), loaded.total()) << name;
    }
  }
}

TEST(PlanTest, ShortContextNeedsNoMoreSlotsThanTokens) {
  const ModelConfig config = models::test_config();
  const models::Plan plan = models::make_plan(config, {.max_context = 100});
  for (size_t i = 0; i < 6; ++i) ASSERT_EQ(plan.caches[i].has_value(), i < 3) << i;
  EXPECT_EQ(KvCache::capacity_of(*plan.caches[0]), 100);
  EXPECT_EQ(plan.chunk, 100);
  EXPECT_EQ(plan.first_reader_layer, 3);
}

TEST(PlanTest, ContextDefaultsToWhatTheModelWasTrainedForUpToALimit) {
  ModelConfig config = models::test_config();
  EXPECT_EQ(models::make_plan(config, {}).max_context, 512);
  config.max_position_embeddings = k128k;
  EXPECT_EQ(models::make_plan(config, {}).max_context, 8192);
}

void expect_refused(const ModelOptions& options, const char* parameter) {
  try {
    models::make_plan(models::test_config(), options);
    FAIL() << parameter;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_EQ(error.detail().parameter, parameter);
  }
}

TEST(PlanTest, RefusesOptionsOutsideTheirRange) {
  expect_refused({.max_context = 513}, "max_context");
  expect_refused({.max_context = -1}, "max_context");
  expect_refused({.batch = 0}, "batch");
  expect_refused({.kv_type = i32}, "kv_type");
  expect_refused({.kv_type = f16, .kv_norm_correction = true}, "kv_norm_correction");
  expect_refused({.prefill_chunk = 0}, "prefill_chunk");
}

TEST(PlanTest, RefusesConfigurationsItCannotRun) {
  ModelConfig config = models::test_config();
  config.layers[4].kv_shared_from = 2;  // a full layer's cache for a sliding one
  EXPECT_THROW(models::make_plan(config, {}), Error);
  config = models::test_config();
  config.layers[0].num_kv_heads = 3;
  EXPECT_THROW(models::make_plan(config, {}), Error);
}

}  // namespace
}  // namespace mlxn
