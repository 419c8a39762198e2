// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/test_kit.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

TEST(SampleErrors, EachRuleNamesItsParameter) {
  const Device device = testing::test_device();
  Stream stream(device);
  ops::SamplingParams drawing;
  drawing.temperature = 1.0f;
  const ops::SampleArgs good{.logits = device.alloc(f32, {2, 8}),
                             .params = {drawing},
                             .history = device.alloc(i32, {2, 4}),
                             .history_len = 4,
                             .suppress = device.alloc(i32, {1}),
                             .positions = 3,
                             .sequence_ids = device.alloc(u32, {2}),
                             .tokens = device.alloc(i32, {2}),
                             .logprobs = device.alloc(f32, {2})};
  const auto expect = [&](const std::vector<std::string>& fragments, auto&& change) {
    ops::SampleArgs bad = good;
    change(bad);
    testing::expect_error(ErrorKind::kInvalidArgument, fragments,
                          [&] { ops::sample(stream, bad); });
  };
  expect({"sample: logits:", "empty"}, [](auto& a) { a.logits = {}; });
  expect({"logits:", "f16"}, [&](auto& a) { a.logits = device.alloc(f16, {2, 8}); });
  expect({"logits:", "[B, V]"}, [](auto& a) { a.logits = a.logits.reshape({16}); });
  expect({"params:", "0"}, [](auto& a) { a.params.clear(); });
  expect({"params:", "3"}, [](auto& a) { a.params.resize(3); });
  expect({"temperature:", "-1"}, [](auto& a) { a.params[0].temperature = -1.0f; });
  expect({"temperature:", "nan"}, [](auto& a) { a.params[0].temperature = NAN; });
  expect({"top_p:", "0"}, [](auto& a) { a.params[0].top_p = 0.0f; });
  expect({"top_p:", "1.5"}, [](auto& a) { a.params[0].top_p = 1.5f; });
  expect({"top_p:", "nan"}, [](auto& a) { a.params[0].top_p = NAN; });
  expect({"min_p:", "-0.1"}, [](auto& a) { a.params[0].min_p = -0.1f; });
  expect({"repetition_penalty:"}, [](auto& a) { a.params[0].repetition_penalty = 0.0f; });
  expect({"presence_penalty:"}, [](auto& a) { a.params[0].presence_penalty = INFINITY; });
  expect({"frequency_penalty:"}, [](auto& a) { a.params[0].frequency_penalty = NAN; });
  expect({"history:", "[3, 4]"}, [&](auto& a) { a.history = device.alloc(i32, {3, 4}); });
  expect({"history_len:", "5", "4"}, [](auto& a) { a.history_len = 5; });
  expect({"history_len:", "3 values"}, [](auto& a) { a.history_len = {1, 2, 3}; });
  expect({"history_len:", "[3]"}, [&](auto& a) { a.history_len = device.alloc(i32, {3}); });
  expect({"history_len:", "4"}, [](auto& a) { a.history = {}; });
  expect({"suppress:", "u32"}, [&](auto& a) { a.suppress = device.alloc(u32, {1}); });
  expect({"positions:", "none"}, [](auto& a) { a.positions = {}; });
  expect({"positions:", "-1"}, [](auto& a) { a.positions = -1; });
  expect({"positions:", "f32"}, [&](auto& a) { a.positions = device.alloc(f32, {2}); });
  expect({"sequence_ids:", "[1]"}, [&](auto& a) { a.sequence_ids = device.alloc(u32, {1}); });
  expect({"tokens:", "empty"}, [](auto& a) { a.tokens = {}; });
  expect({"tokens:", "[3]"}, [&](auto& a) { a.tokens = device.alloc(i32, {3}); });
  expect({"tokens:", "overlap", "suppress"}, [](auto& a) { a.suppress = a.tokens; });
  expect({"logprobs:", "[1]"}, [&](auto& a) { a.logprobs = device.alloc(f32, {1}); });
  expect({"logprobs:", "overlap", "logits"}, [](auto& a) { a.logprobs = a.logits.slice(0, 2); });
  EXPECT_EQ(stream.counters().dispatches, 0u);
  ops::sample(stream, good);
  stream.commit().wait();
  EXPECT_GE(stream.counters().dispatches, 1u);  // some entries take two
}

}  // namespace
}  // namespace mlxn
