// SPDX-License-Identifier: Apache-2.0
// The public face of a model: lengths, trimming, errors, random weights.
#include "mlxn/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/test_kit.h"
#include "models/test_config.h"

namespace mlxn {
namespace {

Model make_model(ModelOptions options = {.max_context = 256, .kv_type = f32, .prefill_chunk = 64},
                 int bits = 32) {
  return Model::random(test_device("", 2, false), models::test_config(), bits, 32,
                       std::move(options));
}

std::vector<int32_t> some_ids(size_t count) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>((i * i * 7 + i * 3 + 1) % 256);
  return ids;
}

template <typename F>
void expect_error(ErrorKind kind, F run) {
  try {
    run();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
  }
}

TEST(ModelTest, CountsTokens) {
  Model model = make_model();
  EXPECT_EQ(model.length(), 0);
  model.prefill(0, some_ids(10));
  EXPECT_EQ(model.length(), 10);
  model.decode(std::vector<int32_t>{5});
  EXPECT_EQ(model.length(), 11);
  model.reset();
  EXPECT_EQ(model.length(), 0);
}

TEST(ModelTest, AContinuedPromptEqualsAWholeOne) {
  Model model = make_model();
  const auto ids = some_ids(128);
  const auto whole = model.logits(ids);
  model.reset();
  model.prefill(0, std::span(ids).first(64));
  EXPECT_EQ(model.prefill(0, std::span(ids).subspan(64)), whole);
}

TEST(ModelTest, TrimmedAndContinuedEqualsFresh) {
  // 64-slot rings wrap; trimming back less than ring - window stays legal.
  Model model = make_model({.max_context = 256, .kv_type = f32, .prefill_chunk = 32});
  const auto ids = some_ids(200);
  const auto first = std::span(ids).first(160);
  Model fresh = make_model({.max_context = 256, .kv_type = f32, .prefill_chunk = 32});
  fresh.prefill(0, first);
  const auto want = fresh.decode(std::vector<int32_t>{77});
  model.prefill(0, ids);
  ASSERT_TRUE(model.trim(0, 160));
  const auto got = model.decode(std::vector<int32_t>{77});
  EXPECT_EQ(got, want);
}

TEST(ModelTest, TrimRefusesWhatTheRingsHaveLost) {
  Model model = make_model({.max_context = 256, .kv_type = f32, .prefill_chunk = 32});
  model.prefill(0, some_ids(200));
  EXPECT_FALSE(model.trim(0, 100));
  EXPECT_EQ(model.length(), 200);
  EXPECT_TRUE(model.trim(0, 0));
  EXPECT_EQ(model.length(), 0);
  expect_error(ErrorKind::kInvalidArgument, [&] { model.trim(0, 1); });
}

TEST(ModelTest, FullContext) {
  Model model = make_model({.max_context = 16, .kv_type = f32});
  expect_error(ErrorKind::kContextFull, [&] { model.prefill(0, some_ids(17)); });
  model.prefill(0, some_ids(16));
  expect_error(ErrorKind::kContextFull, [&] { model.decode(std::vector<int32_t>{1}); });
  EXPECT_EQ(model.length(), 16);
}

TEST(ModelTest, RefusesBadArguments) {
  Model model = make_model();
  const auto kind = ErrorKind::kInvalidArgument;
  expect_error(kind, [&] { model.prefill(0, {}); });
  expect_error(kind, [&] { model.prefill(1, some_ids(1)); });
  expect_error(kind, [&] { model.prefill(-1, some_ids(1)); });
  expect_error(kind, [&] { model.prefill(0, std::vector<int32_t>{256}); });
  expect_error(kind, [&] { model.prefill(0, std::vector<int32_t>{-1}); });
  expect_error(kind, [&] { model.decode(std::vector<int32_t>{1, 2}); });
  expect_error(kind, [&] { model.decode(std::vector<int32_t>{300}); });
  expect_error(kind, [&] { make_model({}, 7); });
}

TEST(ModelTest, RandomWeightsOfEveryWidthRun) {
  for (int bits : {2, 3, 4, 5, 6, 8, 16, 32}) {
    Model model = make_model({.max_context = 64}, bits);
    const auto logits = model.logits(some_ids(5));
    ASSERT_EQ(logits.size(), 256u);
    for (float value : logits) ASSERT_TRUE(std::isfinite(value)) << bits;
    EXPECT_NE(*std::max_element(logits.begin(), logits.end()),
              *std::min_element(logits.begin(), logits.end()));
  }
}

TEST(ModelTest, ReportsProgressFromZeroToOne) {
  std::vector<double> seen;
  ModelOptions options{.max_context = 64};
  options.progress = [&](double fraction) { seen.push_back(fraction); };
  make_model(options);
  ASSERT_GE(seen.size(), 3u);
  EXPECT_EQ(seen.front(), 0.0);
  EXPECT_EQ(seen.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(ModelTest, ReplayedStepsRecordNothing) {
  // The second step replays the captured one: same results as a fresh model that captures late.
  Model a = make_model();
  Model b = make_model();
  const auto ids = some_ids(4);
  a.prefill(0, ids);
  b.prefill(0, ids);
  a.decode(std::vector<int32_t>{3});
  b.prefill(0, std::vector<int32_t>{3});
  const auto from_replay = a.decode(std::vector<int32_t>{8});
  const auto from_capture = b.decode(std::vector<int32_t>{8});
  double worst = 0.0;
  for (size_t i = 0; i < from_replay.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(from_replay[i]) - from_capture[i]));
  }
  EXPECT_LT(worst, 1e-3);
}

}  // namespace
}  // namespace mlxn
