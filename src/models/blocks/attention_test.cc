// SPDX-License-Identifier: Apache-2.0
// What a layer writes to its cache; whole models have goldens.
#include "models/blocks/attention.h"

#include "kernels/common/test_kit.h"

namespace mlxn {
namespace {

using testing::random_buffer;

constexpr int64_t kTokens = 5, kHidden = 24, kKvHeads = 2, kDim = 32;

Weight random_weight(const Device& device, int64_t rows, testing::Random& random) {
  return {.shape = {rows, kHidden}, .data = random_buffer(device, f32, {rows, kHidden}, random)};
}

// The cache of a layer after five tokens of a prompt.
KvCache appended(bool norm_correction) {
  const Device device = testing::test_device();
  Stream stream(device);
  testing::Random random(1);
  const KvCache cache(device, {.num_kv_heads = kKvHeads,
                               .head_dim = kDim,
                               .dtype = KvType::tq(2),
                               .v_type = KvType::tq(3),
                               .norm_correction = norm_correction,
                               .max_context = 16});
  models::AttentionWeights weights;
  weights.k = random_weight(device, kKvHeads * kDim, random);
  weights.v = random_weight(device, kKvHeads * kDim, random);
  weights.k_norm = random_buffer(device, f32, {kDim}, random);
  models::AttentionShape shape;
  shape.num_heads = shape.num_kv_heads = kKvHeads;
  shape.head_dim = kDim;
  shape.eps = 1e-6f;
  models::TokenSpan span;
  span.count = kTokens;
  span.start = 3;
  const Buffer heads = device.alloc(f32, {kTokens, kKvHeads, kDim});
  const models::AttentionScratch scratch{
      .q = {}, .k = heads, .v = device.alloc(f32, heads.shape()), .out = {}};
  models::append(stream, weights, shape, span,
                 random_buffer(device, f32, {kTokens, kHidden}, random), scratch, cache, false);
  stream.commit().wait();
  return cache;
}

TEST(AttentionBlock, AppendsWithTheNormsThatItsCacheAsksFor) {
  const KvCache plain = appended(false), corrected = appended(true);
  for (const auto& [without, with] : {std::pair(plain.k_rows(), corrected.k_rows()),
                                      std::pair(plain.v_rows(), corrected.v_rows())}) {
    EXPECT_EQ(testing::bytes_of(without.codes), testing::bytes_of(with.codes));
    for (size_t i = 0; i < with.norms.span<float>().size(); ++i) {  // [1, 2, 16, 1]
      const bool written = i % 16 >= 3 && i % 16 < 3 + kTokens;
      const float a = without.norms.span<float>()[i], b = with.norms.span<float>()[i];
      EXPECT_EQ(a > 0.0f, written) << i;
      EXPECT_EQ(a != b, written) << i;
    }
  }
}

}  // namespace
}  // namespace mlxn
