// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "kernels/common/test_kit.h"
#include "kernels/moe_route/reference.h"

namespace mlxn {
namespace {

using ops::RouteMode;
using testing::expect_error;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;

class MoeRouteTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, MoeRouteTest,
                         ::testing::ValuesIn(testing::runnable(kernels::moe_route_entries())));

const float* floats(const Buffer& buffer) { return reinterpret_cast<const float*>(buffer.data()); }

void expect_matches(const ops::MoeRouteArgs& a, const std::string& what) {
  const auto r = kernels::moe_route_reference({floats(a.logits), floats(a.expert_scale), nullptr,
                                               nullptr, a.logits.dim(0), a.logits.dim(1),
                                               a.ids.dim(1), a.mode, a.renormalize});
  const auto ids = a.ids.span<uint32_t>();
  EXPECT_EQ(std::vector<uint32_t>(ids.begin(), ids.end()), r.ids) << what;
  testing::expect_close(
      testing::to_floats(a.weights), r.weights,
      [&](size_t i) { return 1e-5 * std::abs(r.weights[i]) + 1e-30; }, what);
}

// Runs both modes, with and without scales, and compares.
void expect_all_forms_match(Stream& stream, const Buffer& logits, int64_t top_k, Random& random,
                            const std::string& what) {
  const Device& device = stream.device();
  const int64_t tokens = logits.dim(0), experts = logits.dim(1);
  std::vector<float> scales;
  for (int64_t e = 0; e < experts; ++e) scales.push_back(random.uniform(0.5f, 2.0f));
  for (int form = 0; form < 6; ++form) {
    const GuardedBuffer ids(device, u32, {tokens, top_k}), weights(device, f32, {tokens, top_k});
    const ops::MoeRouteArgs args{
        .logits = logits,
        .expert_scale = form % 2 ? testing::make_buffer(device, f32, {experts}, scales) : Buffer(),
        .ids = ids.view(),
        .weights = weights.view(),
        .mode = form < 4 ? RouteMode::kSoftmaxTopK : RouteMode::kTopKSoftmax,
        .renormalize = form < 2};
    ops::moe_route(stream, args);
    stream.commit().wait();
    expect_matches(args, what + " form " + std::to_string(form));
    ids.check();
    weights.check();
  }
}

TEST_P(MoeRouteTest, MatchesOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (int64_t experts : {2, 3, 5, 6, 8, 31, 60, 64, 100, 128, 256, 1024}) {
    for (int64_t top_k : {int64_t{1}, int64_t{2}, int64_t{6}, int64_t{8}, experts}) {
      if (top_k > experts || top_k > 64) continue;
      for (int64_t tokens : {1, 9, 33}) {
        const Buffer logits = testing::random_buffer(device, f32, {tokens, experts}, random);
        expect_all_forms_match(
            stream, logits, top_k, random,
            "experts " + std::to_string(experts) + " top_k " + std::to_string(top_k));
      }
    }
  }
}

TEST_P(MoeRouteTest, TiesInfinitiesAndNan) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  const float inf = INFINITY;
  const std::vector<float> values = {
      1,    1,    1,    1,    1,    1,     // ties: lower index first
      0,    -0.f, 0,    -0.f, 2,    2,     // zeros of both signs tie
      -inf, -inf, -inf, -inf, -inf, -inf,  // nothing has a probability
      NAN,  3,    NAN,  1,    -inf, NAN,   // NaN after -infinity
      NAN,  NAN,  NAN,  NAN,  NAN,  NAN,   //
      1,    inf,  2,    -inf, NAN,  3,     // all weights NaN
      -200, 0,    -200, 100,  -500, 90,    // probabilities that underflow do not tie
  };
  const Buffer logits = testing::make_buffer(device, f32, {7, 6}, values);
  for (int64_t top_k : {1, 2, 4, 6}) {
    expect_all_forms_match(stream, logits, top_k, random, "top_k " + std::to_string(top_k));
  }
  const Buffer ids = device.alloc(u32, {7, 6}), weights = device.alloc(f32, {7, 6});
  ops::moe_route(stream, {.logits = logits, .ids = ids, .weights = weights});
  stream.commit().wait();
  const auto found = ids.span<uint32_t>();
  for (size_t t = 0; t < 7; ++t) {
    EXPECT_EQ(std::set<uint32_t>(found.begin() + t * 6, found.begin() + t * 6 + 6).size(), 6u);
  }
  EXPECT_EQ(std::vector<uint32_t>(found.begin() + 18, found.begin() + 24),
            (std::vector<uint32_t>{1, 3, 4, 0, 2, 5}));
}

TEST_P(MoeRouteTest, ScaleOfZeroGivesZeroWeights) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer ids = device.alloc(u32, {1, 2}), weights = device.alloc(f32, {1, 2});
  ops::moe_route(stream, {.logits = device.alloc(f32, {1, 4}),
                          .expert_scale = device.alloc(f32, {4}),
                          .ids = ids,
                          .weights = weights,
                          .mode = RouteMode::kTopKSoftmax});
  stream.commit().wait();
  EXPECT_EQ(weights.span<float>()[0], 0.0f);
  EXPECT_EQ(weights.span<float>()[1], 0.0f);
}

TEST_P(MoeRouteTest, ThreadsAndTokensDoNotChangeBits) {
  Random random(3);
  const int64_t tokens = 128, experts = 60, top_k = 6;
  const auto values = random.normals(tokens * experts);
  std::vector<std::byte> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer logits = testing::make_buffer(device, f32, {tokens, experts}, values);
    const Buffer ids = device.alloc(u32, {tokens, top_k});
    const Buffer weights = device.alloc(f32, {tokens, top_k});
    const Buffer one_id = device.alloc(u32, {1, top_k}), one = device.alloc(f32, {1, top_k});
    ops::moe_route(stream, {.logits = logits, .ids = ids, .weights = weights});
    ops::moe_route(stream, {.logits = logits.rows(77, 1), .ids = one_id, .weights = one});
    stream.commit().wait();
    if (expected.empty()) expected = testing::bytes_of(weights);
    EXPECT_EQ(testing::bytes_of(weights), expected) << threads << " threads";
    EXPECT_EQ(testing::bytes_of(weights.rows(77, 1)), testing::bytes_of(one));
    EXPECT_EQ(testing::bytes_of(ids.rows(77, 1)), testing::bytes_of(one_id));
  }
}

TEST_P(MoeRouteTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(4);
  for (RouteMode mode : {RouteMode::kSoftmaxTopK, RouteMode::kTopKSoftmax}) {
    const ops::MoeRouteArgs args{.logits = testing::random_buffer(device, f32, {50, 60}, random),
                                 .ids = device.alloc(u32, {50, 6}),
                                 .weights = device.alloc(f32, {50, 6}),
                                 .mode = mode};
    testing::expect_repeatable(device, [&](Stream& stream) { ops::moe_route(stream, args); },
                               {args.ids, args.weights});
  }
}

TEST(MoeRouteErrors, EachRuleNamesItsParameter) {
  const Device device = test_device();
  Stream stream(device);
  const ops::MoeRouteArgs good{.logits = device.alloc(f32, {4, 8}),
                               .expert_scale = device.alloc(f32, {8}),
                               .ids = device.alloc(u32, {4, 2}),
                               .weights = device.alloc(f32, {4, 2})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::MoeRouteArgs bad = good;
    change(bad);
    expect_error(ErrorKind::kInvalidArgument, fragments, [&] { ops::moe_route(stream, bad); });
  };
  expect({"moe_route: logits:", "empty"}, [](auto& a) { a.logits = {}; });
  expect({"logits:", "bf16"}, [&](auto& a) { a.logits = device.alloc(bf16, {4, 8}); });
  expect({"logits:", "[T, E]"}, [](auto& a) { a.logits = a.logits.reshape({32}); });
  expect({"logits:", "1025", "1024"}, [&](auto& a) { a.logits = device.alloc(f32, {4, 1025}); });
  expect({"expert_scale:", "7"}, [&](auto& a) { a.expert_scale = device.alloc(f32, {7}); });
  expect({"ids:", "9", "8"}, [&](auto& a) { a.ids = device.alloc(u32, {4, 9}); });
  expect({"ids:", "[3, 2]"}, [&](auto& a) { a.ids = device.alloc(u32, {3, 2}); });
  expect({"ids:", "i32"}, [&](auto& a) { a.ids = device.alloc(i32, {4, 2}); });
  expect({"ids:", "65", "64"}, [&](auto& a) {
    a.logits = device.alloc(f32, {4, 128});
    a.expert_scale = {};
    a.ids = device.alloc(u32, {4, 65});
  });
  expect({"weights:", "[4, 3]"}, [&](auto& a) { a.weights = device.alloc(f32, {4, 3}); });
  expect({"weights:", "overlap", "ids"}, [](auto& a) { a.weights = a.ids.view_as(f32, {4, 2}); });
  expect({"ids:", "overlap", "logits"}, [](auto& a) {
    a.ids = a.logits.rows(0, 1).view_as(u32, {4, 2});
  });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::moe_route(stream, good);
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 1u);
  EXPECT_EQ(stream.counters().barriers, 0u);
}

}  // namespace
}  // namespace mlxn
