// SPDX-License-Identifier: Apache-2.0
// Perplexity against a plain sum over the model's own logits, token by token.
#include "mlxn/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/test_config.h"

namespace mlxn {
namespace {

constexpr int32_t kBos = 2;

Model make_model(int threads = 2) {
  return Model::random(Device::open("cpu", {.num_threads = threads}), models::test_config(), 32, 32,
                       {.max_context = 256, .kv_type = f32});
}

std::vector<int32_t> make_tokens(int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back(3 + (i * 53 + i * i * 7) % 250);
  return tokens;
}

// nll of tokens first .. end of one window, each from a decode step.
std::vector<double> nll_of(Model& model, std::vector<int32_t> window, size_t first) {
  window[0] = kBos;
  std::vector<double> nll;
  model.reset();
  for (size_t i = 0; i + 1 < window.size(); ++i) {
    const std::vector<float> logits = model.decode({&window[i], 1});
    if (i + 1 < first) continue;
    long double sum = 0.0L;
    for (float logit : logits) sum += std::exp(static_cast<long double>(logit));
    nll.push_back(static_cast<double>(std::log(sum)) - logits[static_cast<size_t>(window[i + 1])]);
  }
  return nll;
}

struct Expected {
  double perplexity, standard_error;
  size_t tokens;
};

Expected expected(Model& model, const std::vector<int32_t>& tokens, size_t context, size_t step,
                  size_t first) {
  std::vector<double> all;
  for (size_t begin = 0; begin + context <= tokens.size(); begin += step) {
    const auto from = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto part = nll_of(model, {from, from + static_cast<std::ptrdiff_t>(context)}, first);
    all.insert(all.end(), part.begin(), part.end());
  }
  double mean = 0.0, squares = 0.0;
  const auto count = static_cast<double>(all.size());
  for (double value : all) mean += value / count;
  for (double value : all) squares += (value - mean) * (value - mean);
  const double deviation = std::sqrt(squares / (count - 1.0));
  return {std::exp(mean), std::exp(mean) * deviation / std::sqrt(count), all.size()};
}

void expect_equal(const Perplexity& got, const Expected& want) {
  EXPECT_EQ(got.tokens, static_cast<int64_t>(want.tokens));
  EXPECT_NEAR(got.perplexity / want.perplexity, 1.0, 1e-4);
  EXPECT_NEAR(got.standard_error / want.standard_error, 1.0, 1e-4);
  EXPECT_NEAR(std::exp(got.mean_nll), got.perplexity, 1e-9 * got.perplexity);
}

TEST(Perplexity, SecondHalfOfEachWindow) {
  Model model = make_model();
  // 200: three pieces of logits; 9: odd; 64 and 65 around a piece.
  for (int64_t context : {9, 64, 65, 200}) {
    const auto tokens = make_tokens(static_cast<int32_t>(2 * context + 5));
    const auto got = perplexity(model, tokens, {.context = context, .bos = kBos});
    const auto size = static_cast<size_t>(context);
    expect_equal(got, expected(model, tokens, size, size, size / 2 + 1));
    EXPECT_EQ(got.windows, 2) << context;
  }
}

TEST(Perplexity, StrideScoresTheEndsOfOverlappingWindows) {
  Model model = make_model();
  const auto tokens = make_tokens(150);
  for (int64_t stride : {1, 10, 70, 99}) {
    const auto got = perplexity(model, tokens, {.context = 100, .stride = stride, .bos = kBos});
    const auto step = static_cast<size_t>(stride);
    expect_equal(got, expected(model, tokens, 100, step, 100 - step));
    EXPECT_EQ(got.windows, 50 / stride + 1);
    EXPECT_EQ(got.tokens, got.windows * stride);
  }
}

TEST(Perplexity, WithoutBosTheFirstTokenStays) {
  Model model = make_model();
  auto tokens = make_tokens(64);
  const double without = perplexity(model, tokens, {.context = 64}).perplexity;
  EXPECT_NE(without, perplexity(model, tokens, {.context = 64, .bos = kBos}).perplexity);
  tokens[0] = kBos;
  EXPECT_NE(without, perplexity(model, tokens, {.context = 64}).perplexity);
  EXPECT_EQ(perplexity(model, tokens, {.context = 64}).perplexity,
            perplexity(model, make_tokens(64), {.context = 64, .bos = kBos}).perplexity);
}

TEST(Perplexity, ThreadCountDoesNotChangeBits) {
  Model one = make_model(1), two = make_model(2);
  const auto tokens = make_tokens(300);
  const auto a = perplexity(one, tokens, {.context = 140});
  const auto b = perplexity(two, tokens, {.context = 140});
  EXPECT_EQ(a.perplexity, b.perplexity);
  EXPECT_EQ(a.standard_error, b.standard_error);
}

TEST(Perplexity, OneScoredTokenHasNoError) {
  Model model = make_model();
  const auto got = perplexity(model, make_tokens(20), {.context = 20, .stride = 1});
  EXPECT_EQ(got.tokens, 1);
  EXPECT_TRUE(std::isfinite(got.perplexity));
  EXPECT_TRUE(std::isnan(got.standard_error));
}

TEST(Perplexity, StopsWhenProgressSaysSo) {
  Model model = make_model();
  const auto tokens = make_tokens(80);
  std::vector<int64_t> seen;
  const auto got =
      perplexity(model, tokens, {.context = 16, .progress = [&](int64_t n, int64_t of) {
                                   EXPECT_EQ(of, 5);
                                   seen.push_back(n);
                                   return n < 2;
                                 }});
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(got.windows, 2);
  const auto first = perplexity(model, std::span(tokens).first(32), {.context = 16});
  EXPECT_EQ(got.perplexity, first.perplexity);
}

TEST(Perplexity, RefusesWhatItCannotScore) {
  Model model = make_model();
  const auto parameter = [&](const std::vector<int32_t>& tokens, const PerplexityOptions& options) {
    try {
      perplexity(model, tokens, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(error.detail().found, "");
      EXPECT_NE(error.detail().required, "");
      return error.detail().parameter;
    }
    return std::string("none");
  };
  const auto tokens = make_tokens(300);
  EXPECT_EQ(parameter(tokens, {.context = 7}), "context");
  EXPECT_EQ(parameter(tokens, {.context = -1}), "context");
  EXPECT_EQ(parameter(tokens, {.context = 257}), "context");  // the model holds 256
  EXPECT_EQ(parameter(tokens, {.context = 256}), "none");
  EXPECT_EQ(parameter(tokens, {.context = 64, .stride = 64}), "stride");
  EXPECT_EQ(parameter(tokens, {.context = 64, .stride = -1}), "stride");
  EXPECT_EQ(parameter(make_tokens(63), {.context = 64}), "tokens");
  EXPECT_EQ(parameter({}, {.context = 64}), "tokens");
  auto outside = tokens;
  outside.back() = 256;
  EXPECT_EQ(parameter(outside, {.context = 64}), "token");
  EXPECT_EQ(parameter(tokens, {.context = 64, .bos = 256}), "token");
}

}  // namespace
}  // namespace mlxn
