// SPDX-License-Identifier: Apache-2.0
// The report against perplexity() and logits of models that were made one by one.
#include "mlxn/kv_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "models/test_config.h"
#include "runtime/test_tokenizer.h"

namespace mlxn {
namespace {

constexpr int64_t kContext = 100;

Model make_model(const KvTypes& types = {f32, f32}, int64_t max_context = kContext) {
  return Model::random(Device::open("cpu", {.num_threads = 2}), models::test_config(), 32, 32,
                       {.max_context = max_context, .kv_type = types.k, .kv_type_v = types.v});
}

std::vector<int32_t> make_tokens(int32_t count) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < count; ++i) tokens.push_back(3 + (i * 53 + i * i * 7) % 250);
  return tokens;
}

std::vector<KvTypes> types_of(std::initializer_list<const char*> names) {
  std::vector<KvTypes> types;
  for (const char* name : names) types.push_back(parse_kv_types(name).value());
  return types;
}

std::vector<KvReportRow> report(const KvReportOptions& options,
                                const std::vector<int32_t>& tokens = make_tokens(230)) {
  return kv_report(make_model({}, 8), runtime::test_tokenizer(), tokens, options);
}

TEST(KvTypesTest, NamesGoBothWays) {
  for (const char* text : {"f32", "bf16", "tq3", "tq8/tq4", "tq2/tq6"}) {
    ASSERT_TRUE(parse_kv_types(text)) << text;
    EXPECT_EQ(name(*parse_kv_types(text)), text);
  }
  EXPECT_EQ(name(*parse_kv_types("tq4/tq4")), "tq4");
  for (const char* text : {"", "tq7", "f16/f32", "f16/tq4", "tq4/", "/tq4", "tq4/tq4/tq4", "F16"}) {
    EXPECT_FALSE(parse_kv_types(text)) << text;
  }
}

TEST(KvReport, EachRowIsWhatAModelOfThatTypeSays) {
  const KvReportOptions options{.types = types_of({"f16", "f32", "tq4", "tq8/tq3"}),
                                .baseline = {f32, f32},
                                .context = kContext,
                                .bos = 2};
  const auto tokens = make_tokens(230);
  const auto rows = report(options, tokens);
  ASSERT_EQ(rows.size(), 4u);
  for (const KvReportRow& row : rows) {
    SCOPED_TRACE(name(row.types));
    Model own = make_model(row.types), baseline = make_model();
    const Perplexity alone = perplexity(own, tokens, {.context = kContext, .bos = 2});
    const Perplexity of_f32 = perplexity(baseline, tokens, {.context = kContext, .bos = 2});
    EXPECT_EQ(row.perplexity.perplexity, alone.perplexity);
    EXPECT_EQ(row.perplexity.standard_error, alone.standard_error);
    EXPECT_EQ(row.perplexity.windows, 2);
    EXPECT_NEAR(row.change, alone.perplexity / of_f32.perplexity - 1.0, 1e-12);
    double largest = 0.0, sum = 0.0, count = 0.0;
    for (size_t begin : {0u, 100u}) {
      std::vector<int32_t> window(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                  tokens.begin() + static_cast<std::ptrdiff_t>(begin) + 99);
      window[0] = 2;
      const auto a = own.logits(window, true), b = baseline.logits(window, true);
      for (size_t i = 50 * a.size() / 99; i < a.size(); ++i) {
        const double change = std::abs(static_cast<double>(a[i]) - b[i]);
        largest = std::max(largest, change);
        sum += change;
        ++count;
      }
    }
    EXPECT_EQ(row.logit_change, largest);
    EXPECT_NEAR(row.mean_logit_change, sum / count, 1e-12);
    const bool is_baseline = row.types == options.baseline;
    EXPECT_EQ(row.logit_change == 0.0, is_baseline);
    EXPECT_EQ(row.change_error == 0.0, is_baseline);
    // The same tokens are compared, so their own spread does not count.
    EXPECT_LT(row.change_error, row.perplexity.standard_error / row.perplexity.perplexity);
    EXPECT_EQ(row.recall_items, 0);
    EXPECT_EQ(row.generation_rate, 0.0);
  }
}

TEST(KvReport, BytesAreThoseOfTheCaches) {
  const ModelConfig config = models::test_config();
  const auto rows = report({.types = types_of({"f32", "f16", "tq4", "tq8/tq2"}), .context = 64});
  int64_t elements = 0, norms = 0;  // of a token, keys and values
  for (const LayerConfig& layer : config.layers) {
    if (layer.kv_shared_from >= 0) continue;
    elements += 2 * layer.num_kv_heads * layer.head_dim;
    norms += 2 * layer.num_kv_heads * (layer.head_dim == 512 ? 2 : 1);
  }
  EXPECT_EQ(rows[0].bytes_per_token, 4 * elements);
  EXPECT_EQ(rows[1].bytes_per_token, 2 * elements);
  EXPECT_EQ(rows[2].bytes_per_token, elements / 2 + 4 * norms);
  EXPECT_EQ(rows[3].bytes_per_token, elements / 2 + elements / 8 + 4 * norms);
  EXPECT_EQ(rows[0].cache_bytes, 2 * rows[1].cache_bytes);
}

TEST(KvReport, NormCorrectionIsOfCodes) {
  KvReportOptions options{.types = types_of({"f16", "tq2"}), .context = 64};
  const std::vector<KvReportRow> plain = report(options);
  options.norm_correction = true;
  const std::vector<KvReportRow> corrected = report(options);
  EXPECT_EQ(corrected[0].perplexity.perplexity, plain[0].perplexity.perplexity);
  EXPECT_NE(corrected[1].perplexity.perplexity, plain[1].perplexity.perplexity);
}

TEST(KvReport, RecallAndSpeedAreMeasuredWhereAsked) {
  KvReportOptions options{.types = types_of({"f16", "tq4"}), .context = 64};
  options.recall = {{make_tokens(90), "1234"}, {make_tokens(20), ""}};
  options.max_reply = 4;
  options.depth = 40;
  options.steps = 3;
  for (const KvReportRow& row : report(options)) {
    EXPECT_EQ(row.recall_items, 2);
    EXPECT_EQ(row.recall_right, 0);  // replies of letters that go on
    EXPECT_GT(row.prompt_rate, 0.0);
    EXPECT_GT(row.generation_rate, 0.0);
  }
}

TEST(KvReport, StopsWhenProgressSaysSo) {
  const auto tokens = make_tokens(300);
  KvReportOptions options{.types = types_of({"f32", "tq4"}), .context = 130};
  options.recall = {{make_tokens(90), "1"}};
  double last = 0.0;
  options.progress = [&](double fraction) {
    EXPECT_GE(fraction, last);
    last = fraction;
    return true;
  };
  report(options, tokens);
  EXPECT_NEAR(last, 1.0, 0.05);
  // In the first piece of the second of two windows.
  options.progress = [&](double fraction) { return fraction < 0.5; };
  for (const KvReportRow& row : report(options, tokens)) {
    EXPECT_EQ(row.perplexity.windows, 1);
    EXPECT_EQ(row.perplexity.tokens, 64);
    EXPECT_EQ(row.recall_items, 0);
  }
  options.progress = [](double) { return false; };
  EXPECT_EQ(report(options, tokens)[0].perplexity.windows, 0);
}

TEST(KvReport, RefusesWhatItCannotMeasure) {
  const auto parameter = [&](KvReportOptions options) {
    try {
      if (options.types.empty()) options.types = types_of({"f16"});
      report(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(error.detail().found, "");
      EXPECT_NE(error.detail().required, "");
      return error.detail().parameter;
    }
    return std::string("none");
  };
  const int64_t limit = models::test_config().max_position_embeddings;
  EXPECT_EQ(parameter({.context = 7}), "context");
  EXPECT_EQ(parameter({.context = 231}), "tokens");
  EXPECT_EQ(parameter({.context = 64, .depth = limit}), "recall, depth: tokens");
  EXPECT_EQ(parameter({.context = 64, .depth = -1}), "depth");
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(parameter({.context = 64, .depth = kHuge}), "depth");
  EXPECT_EQ(parameter({.context = 64, .depth = 8, .steps = kHuge}), "steps");
  EXPECT_EQ(parameter({.context = 64, .max_reply = kHuge}), "max_reply");
  EXPECT_EQ(parameter({.context = 64, .steps = 0}), "steps");
  EXPECT_EQ(parameter({.context = 64, .recall = {{{}, "1"}}}), "recall: prompt");
  EXPECT_EQ(parameter({.context = 64, .recall = {{{256}, "1"}}}), "token");
  EXPECT_EQ(parameter({.context = 64}), "none");
  EXPECT_THROW(report({.context = 64}), Error);  // no types
}

}  // namespace
}  // namespace mlxn
