// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "kernels/common/test_kit.h"
#include "kernels/sample/philox.h"
#include "kernels/sample/reference.h"
#include "mlxn/ops/sampling.h"

namespace mlxn {
namespace {

using ops::SamplingParams;
using testing::GuardedBuffer;
using testing::Random;
using testing::test_device;
using testing::unless_short;

class SampleTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Entries, SampleTest,
                         ::testing::ValuesIn(testing::runnable(kernels::sample_entries())));

std::vector<int32_t> run(Stream& stream, ops::SampleArgs args) {
  const GuardedBuffer tokens(stream.device(), i32, {args.logits.dim(0)});
  args.tokens = tokens.view();
  ops::sample(stream, args);
  stream.commit().wait();
  tokens.check();
  const auto found = tokens.view().span<int32_t>();
  return {found.begin(), found.end()};
}

// `draws` copies of one row of logits, drawn at positions 0, 1, 2, ...
std::vector<int32_t> draw_many(Stream& stream, const std::vector<float>& row, int64_t draws,
                               const SamplingParams& params) {
  const Device& device = stream.device();
  const int64_t vocab = static_cast<int64_t>(row.size());
  const Buffer logits = device.alloc(f32, {draws, vocab});
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < draws; ++i) {
    std::copy(row.begin(), row.end(), logits.rows(i, 1).span<float>().begin());
    positions.push_back(i);
  }
  return run(stream, {.logits = logits, .params = {params}, .positions = positions, .tokens = {}});
}

kernels::SampleRule rule_of(const SamplingParams& p) {
  return {.seed = p.seed,
          .position = 0,
          .history_len = 0,
          .temperature = p.temperature,
          .top_p = p.top_p,
          .min_p = p.min_p,
          .repetition_penalty = p.repetition_penalty,
          .presence_penalty = p.presence_penalty,
          .frequency_penalty = p.frequency_penalty,
          .top_k = p.top_k,
          .penalty_window = p.penalty_window};
}

std::vector<double> probabilities_of(const std::vector<float>& row, const SamplingParams& params) {
  const kernels::SampleRule rule = rule_of(params);
  kernels::SampleParams p{};
  p.logits = row.data();
  p.rules = &rule;
  p.vocab = static_cast<int64_t>(row.size());
  return kernels::sample_reference_probabilities(p, 0);
}

// The token must be the oracle's, unless the uniform number lies at a step of the running sum.
void expect_draws_match(Stream& stream, const std::vector<float>& row, int64_t draws,
                        const SamplingParams& params, const std::string& what) {
  const auto found = draw_many(stream, row, draws, params);
  const auto probabilities = probabilities_of(row, params);
  for (int64_t i = 0; i < draws; ++i) {
    // draw_many numbers the sequences like the positions.
    const double uniform = kernels::draw_uniform(params.seed, static_cast<uint32_t>(i), i);
    const size_t token = static_cast<size_t>(found[static_cast<size_t>(i)]);
    ASSERT_LT(token, row.size());
    EXPECT_GT(probabilities[token], 0.0) << what << ": a dropped token was drawn: " << token;
    double before = 0.0;
    for (size_t t = 0; t < token; ++t) before += probabilities[t];
    EXPECT_GE(uniform, before - 3e-6) << what;
    EXPECT_LE(uniform, before + probabilities[token] + 3e-6) << what;
  }
}

TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(kernels::philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(kernels::philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Philox, UniformCoversTheUnitInterval) {
  std::vector<int> bins(16);
  for (int64_t i = 0; i < 16000; ++i) {
    const double u = kernels::draw_uniform(7, 3, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<size_t>(u * 16)];
  }
  double chi_square = 0.0;
  for (int count : bins) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 37.7);  // 15 degrees of freedom, one in a thousand
  EXPECT_NE(kernels::draw_uniform(7, 3, 0), kernels::draw_uniform(8, 3, 0));
  EXPECT_NE(kernels::draw_uniform(7, 3, 0), kernels::draw_uniform(7, 4, 0));
  EXPECT_NE(kernels::draw_uniform(7, 3, 0), kernels::draw_uniform(uint64_t{1} << 32 | 7, 3, 0));
  EXPECT_NE(kernels::draw_uniform(7, 3, 0), kernels::draw_uniform(7, 3, int64_t{1} << 32));
}

TEST_P(SampleTest, EveryFilterMatchesTheOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(1);
  for (int64_t vocab : unless_short<int64_t>({1, 2, 10, 33, 1023, 1025, 5000}, {1, 33, 1025})) {
    auto row = random.normals(vocab);
    for (float& value : row) value *= 3.0f;
    for (float temperature : unless_short<float>({0.3f, 1.0f, 2.5f}, {0.3f})) {
      for (int top_k : {0, 1, 5, 64, 6000}) {
        for (float top_p : {1.0f, 0.9f, 0.3f, 1e-6f}) {
          for (float min_p : {0.0f, 0.05f, 1.0f}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_k = top_k;
            params.top_p = top_p;
            params.min_p = min_p;
            params.seed = 11;
            expect_draws_match(stream, row, 6, params,
                               "vocab " + std::to_string(vocab) + " top_k " +
                                   std::to_string(top_k) + " top_p " + std::to_string(top_p) +
                                   " min_p " + std::to_string(min_p));
          }
        }
      }
    }
  }
}

// A flat distribution: top_p has to look at thousands of candidates.
TEST_P(SampleTest, TopPOfAFlatDistribution) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(2);
  auto row = random.normals(20000);
  for (float& value : row) value *= 0.1f;
  SamplingParams params;
  params.temperature = 1.0f;
  params.top_p = 0.95f;
  expect_draws_match(stream, row, 20, params, "flat");
}

// Rows that GPUs sift into short lists first: what fits one, ties that do not, and a mass that the
// list does not reach.
TEST_P(SampleTest, LongRowsMatchTheOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(8);
  for (int64_t vocab : unless_short<int64_t>({16385, 50001, 262144}, {16500})) {
    for (float step : {0.0f, 0.5f, 8.0f}) {
      auto row = random.normals(vocab);
      for (float& value : row) {
        value = step > 0.0f ? std::round(3.0f * value / step) * step : 4.0f * value;
      }
      for (int top_k : {0, 1, 40, 7000}) {
        for (float top_p : {1.0f, 0.9f}) {
          SamplingParams params{
              .temperature = 0.8f, .top_k = top_k, .top_p = top_p, .min_p = 1e-3f};
          expect_draws_match(stream, row, 3, params,
                             "vocab " + std::to_string(vocab) + " step " + std::to_string(step) +
                                 " top_k " + std::to_string(top_k));
        }
      }
      for (float special : {NAN, INFINITY}) {
        row[16000] = special;
        EXPECT_EQ(draw_many(stream, row, 1, {.temperature = 1.0f, .top_k = 40})[0], 0);
      }
    }
  }
}

TEST_P(SampleTest, FrequenciesFollowTheDistribution) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(3);
  auto row = random.normals(12);
  row[5] = -INFINITY;
  for (int top_k : {0, 8}) {
    SamplingParams params;
    params.temperature = 0.8f;
    params.top_k = top_k;
    params.seed = 42;
    const int64_t draws = testing::is_short() ? 2000 : 20000;
    std::vector<double> counts(row.size());
    for (int32_t token : draw_many(stream, row, draws, params)) {
      ++counts[static_cast<size_t>(token)];
    }
    const auto probabilities = probabilities_of(row, params);
    double chi_square = 0.0;
    for (size_t i = 0; i < row.size(); ++i) {
      const double expected = probabilities[i] * static_cast<double>(draws);
      if (expected == 0.0) {
        EXPECT_EQ(counts[i], 0.0) << i;
        continue;
      }
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    EXPECT_LT(chi_square, 29.6);  // 10 degrees of freedom, one in a thousand
  }
}

TEST_P(SampleTest, UniformLogitsDrawEveryTokenAlike) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  SamplingParams params;
  params.temperature = 1.0f;
  std::vector<int> counts(10);
  for (int32_t token : draw_many(stream, std::vector<float>(10, 0.5f), 10000, params)) {
    ++counts[static_cast<size_t>(token)];
  }
  for (int count : counts) EXPECT_NEAR(count, 1000, 120);
}

TEST_P(SampleTest, GreedyTakesTheLowestIndexAfterSuppressionAndPenalties) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const Buffer logits = testing::make_buffer(
      device, f32, {2, 5}, std::vector<float>{1, 3, 3, 2, 0, 1, 3, 3, 2, -INFINITY});
  ops::SampleArgs args{
      .logits = logits, .params = {SamplingParams{}}, .positions = {}, .tokens = {}};
  EXPECT_EQ(run(stream, args), (std::vector<int32_t>{1, 1}));
  args.suppress = testing::make_i32(device, {1, -7, 99});
  EXPECT_EQ(run(stream, args), (std::vector<int32_t>{2, 2}));
  args.history = testing::make_i32(device, {2, 2, 3, 0, 0, 3}).reshape({2, 3});
  args.history_len = {3, 3};
  args.params[0].repetition_penalty = 4.0f;
  EXPECT_EQ(run(stream, args), (std::vector<int32_t>{0, 2}));
  args.suppress = testing::make_i32(device, {0, 1, 2, 3, 4});
  EXPECT_EQ(run(stream, args), (std::vector<int32_t>{0, 0}));
  EXPECT_EQ(logits.span<float>()[1], 3.0f) << "logits were changed";
}

TEST_P(SampleTest, PenaltiesMatchTheOracle) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(4);
  const int64_t vocab = 40, max_history = 200;
  const auto row = random.normals(vocab);
  std::vector<int32_t> history;
  for (int64_t i = 0; i < max_history; ++i) {
    history.push_back(static_cast<int32_t>(random.integer(-2, vocab + 1)));
  }
  for (int window : {-1, 0, 1, 10, 64, 1000}) {
    for (int64_t len : {0, 1, 50, 200}) {
      SamplingParams params;
      params.repetition_penalty = 1.3f;
      params.presence_penalty = 0.2f;
      params.frequency_penalty = 0.1f;
      params.penalty_window = window;
      kernels::SampleRule rule = rule_of(params);
      rule.history_len = len;
      kernels::SampleParams p{};
      p.logits = row.data();
      p.rules = &rule;
      p.history = history.data();
      p.vocab = vocab;
      p.max_history = max_history;
      const auto expected = kernels::sample_reference_logits(p, 0);
      const auto best = std::max_element(expected.begin(), expected.end()) - expected.begin();
      ops::SampleArgs args{.logits = testing::make_buffer(device, f32, {1, vocab}, row),
                           .params = {params},
                           .history = testing::make_i32(device, history).reshape({1, max_history}),
                           .history_len = len,
                           .positions = {},
                           .tokens = {}};
      EXPECT_EQ(run(stream, args)[0], best) << "window " << window << " len " << len;
      // Draws see the same logits.
      rule.temperature = args.params[0].temperature = 0.7f;
      args.positions = 5;
      const auto probabilities = kernels::sample_reference_probabilities(p, 0);
      const size_t token = static_cast<size_t>(run(stream, args)[0]);
      double before = 0.0;
      for (size_t t = 0; t < token; ++t) before += probabilities[t];
      const double uniform = kernels::draw_uniform(0, 0, 5);
      EXPECT_GE(uniform, before - 3e-6);
      EXPECT_LE(uniform, before + probabilities[token] + 3e-6);
    }
  }
}

TEST_P(SampleTest, LogProbabilitiesAreOfTheRawLogits) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(5);
  for (int64_t vocab : {1, 7, 1000, 262144}) {
    const Buffer logits = testing::random_buffer(device, f32, {2, vocab}, random);
    const GuardedBuffer tokens(device, i32, {2}), logprobs(device, f32, {2});
    SamplingParams params;
    params.temperature = 0.5f;
    params.top_k = 3;
    ops::sample(stream, {.logits = logits,
                         .params = {params},
                         .suppress = testing::make_i32(device, {0}),
                         .positions = 9,
                         .tokens = tokens.view(),
                         .logprobs = logprobs.view()});
    stream.commit().wait();
    tokens.check();
    logprobs.check();
    for (size_t b = 0; b < 2; ++b) {
      const auto row = logits.rows(static_cast<int64_t>(b), 1).span<float>();
      double sum = 0.0;
      for (float value : row) sum += std::exp(double{value});
      const int32_t token = tokens.view().span<int32_t>()[b];
      EXPECT_NEAR(logprobs.view().span<float>()[b], row[static_cast<size_t>(token)] - std::log(sum),
                  1e-5);
    }
  }
}

TEST_P(SampleTest, NanInfinityAndEmptyRows) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  const float inf = INFINITY;
  const std::vector<float> rows = {1,    2,    NAN,  3,  // NaN
                                   1,    inf,  0,    0,  // +infinity
                                   -inf, -inf, -inf, -inf, 1, 1, 1, 1};
  const Buffer logits = testing::make_buffer(device, f32, {4, 4}, rows);
  const Buffer tokens = device.alloc(i32, {4}), logprobs = device.alloc(f32, {4});
  for (float temperature : {0.0f, 1.0f}) {
    for (int top_k : {0, 2}) {
      SamplingParams params;
      params.temperature = temperature;
      params.top_k = top_k;
      ops::sample(stream, {.logits = logits,
                           .params = {params},
                           .positions = 1,
                           .tokens = tokens,
                           .logprobs = logprobs});
      stream.commit().wait();
      const auto found = tokens.span<int32_t>();
      const bool greedy = temperature == 0.0f;
      EXPECT_EQ(found[0], greedy ? 3 : 0);
      EXPECT_EQ(found[1], greedy ? 1 : 0);
      EXPECT_EQ(found[2], 0);
      for (size_t b = 0; b < 3; ++b) EXPECT_TRUE(std::isnan(logprobs.span<float>()[b])) << b;
      EXPECT_FLOAT_EQ(logprobs.span<float>()[3], std::log(0.25f));
    }
  }
}

TEST_P(SampleTest, ExtremeTemperatures) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  std::vector<float> row(3000, 0.0f);
  row[1234] = 0.01f;
  for (float temperature : {1e-45f, 1e-38f, 1e-6f}) {
    SamplingParams params;
    params.temperature = temperature;
    for (int32_t token : draw_many(stream, row, 20, params)) EXPECT_EQ(token, 1234);
  }
  SamplingParams hot;
  hot.temperature = 3e38f;
  const auto found = draw_many(stream, row, 200, hot);
  EXPECT_GT(std::set<int32_t>(found.begin(), found.end()).size(), 150u);
}

TEST_P(SampleTest, DrawsDependOnSeedSequenceAndPositionOnly) {
  Random random(6);
  const int64_t sequences = 9, vocab = 3001;
  const auto values = random.normals(sequences * vocab);
  std::vector<int32_t> expected;
  for (int threads : {1, 2, 3, 8}) {
    const Device device = test_device(GetParam(), threads);
    Stream stream(device);
    const Buffer logits = testing::make_buffer(device, f32, {sequences, vocab}, values);
    std::vector<SamplingParams> params(static_cast<size_t>(sequences));
    for (size_t b = 0; b < params.size(); ++b) {
      params[b].temperature = 1.0f;
      params[b].top_k = b % 3 ? 0 : 40;
      params[b].top_p = b % 2 ? 1.0f : 0.9f;
      params[b].seed = 5;
    }
    const std::vector<int32_t> positions = {4, 4, 4, 7, 8, 9, 10, 11, 1 << 30};
    const auto tokens = run(stream, {.logits = logits,
                                     .params = params,
                                     .positions = testing::make_i32(device, positions),
                                     .tokens = {}});
    if (expected.empty()) expected = tokens;
    EXPECT_EQ(tokens, expected) << threads << " threads";
    // Each alone, with its own sequence id and a host position.
    for (int64_t b = 0; b < sequences; ++b) {
      const size_t at = static_cast<size_t>(b);
      const uint32_t id = static_cast<uint32_t>(b);
      const auto alone = run(stream, {.logits = logits.rows(b, 1),
                                      .params = {params[at]},
                                      .positions = int64_t{positions[at]},
                                      .sequence_ids = device.upload(&id, u32, {1}),
                                      .tokens = {}});
      EXPECT_EQ(alone[0], expected[at]) << b;
    }
  }
}

TEST_P(SampleTest, DirectCapturedAndReplayedAgree) {
  const Device device = test_device(GetParam());
  Random random(8);
  const Buffer logits = testing::random_buffer(device, f32, {3, 1500}, random);
  const Buffer tokens = device.alloc(i32, {3}), logprobs = device.alloc(f32, {3});
  const Buffer history = testing::make_i32(device, {1, 2, 3, 4, 5, 6}).reshape({3, 2});
  const SamplingParams draw{.temperature = 1.5f,
                            .top_k = 200,
                            .top_p = 0.9f,
                            .min_p = 0.01f,
                            .repetition_penalty = 1.3f,
                            .seed = 5};
  for (const SamplingParams& params : {SamplingParams{}, draw}) {
    testing::expect_repeatable(device,
                               [&](Stream& stream) {
                                 ops::sample(stream, {.logits = logits,
                                                      .params = {params},
                                                      .history = history,
                                                      .history_len = {2, 1, 2},
                                                      .positions = {7, 8, 9},
                                                      .tokens = tokens,
                                                      .logprobs = logprobs});
                               },
                               {tokens, logprobs});
  }
}

// A captured step reads positions and history lengths when it is replayed.
TEST_P(SampleTest, ReplayFollowsTheStepState) {
  const Device device = test_device(GetParam());
  Stream stream(device);
  Random random(7);
  const Buffer logits = testing::random_buffer(device, f32, {1, 500}, random);
  const Buffer positions = device.alloc(i32, {1}), history_len = device.alloc(i32, {1});
  const Buffer history = device.alloc(i32, {1, 16});
  ops::SampleArgs args{.logits = logits,
                       .params = {SamplingParams{.temperature = 3.0f, .frequency_penalty = 50.0f}},
                       .history = history,
                       .history_len = history_len,
                       .positions = positions,
                       .tokens = device.alloc(i32, {1})};
  stream.begin_capture();
  ops::sample(stream, args);
  const Graph graph = stream.end_capture();
  std::set<int32_t> seen;
  for (int32_t step = 0; step < 16; ++step) {
    positions.span<int32_t>()[0] = step;
    history_len.span<int32_t>()[0] = step;
    stream.replay(graph);
    stream.commit().wait();
    const int32_t token = args.tokens.span<int32_t>()[0];
    EXPECT_TRUE(seen.insert(token).second) << "penalised token drawn again at step " << step;
    history.span<int32_t>()[static_cast<size_t>(step)] = token;
    ops::SampleArgs direct = args;
    direct.positions = int64_t{step};
    EXPECT_EQ(run(stream, direct)[0], token);
  }
  // Lengths outside the buffer are clamped, never followed.
  for (int32_t len : {-5, 1000}) {
    history_len.span<int32_t>()[0] = len;
    stream.replay(graph);
    stream.commit().wait();
  }
}

}  // namespace
}  // namespace mlxn
