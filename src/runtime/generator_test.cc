// SPDX-License-Identifier: Apache-2.0
// The generation loop on a tiny model: goldens, stop conditions, streaming, batches, reuse.
#include "mlxn/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/test_kit.h"
#include "models/test_config.h"
#include "runtime/test_tokenizer.h"

namespace mlxn {
namespace {

Model make_model(int batch = 1, int64_t context = 256, int64_t chunk = 64) {
  return Model::random(
      test_device("", 2, false), models::test_config(), 32, 32,
      {.max_context = context, .batch = batch, .kv_type = f32, .prefill_chunk = chunk});
}

Generator make_generator(int batch = 1, int64_t context = 256) {
  return Generator(make_model(batch, context), runtime::test_tokenizer());
}

const std::vector<int32_t> kPrompt = {2, 7, 199, 30, 42, 42, 250, 11};
const std::vector<int32_t> kOther = {2, 77, 31, 200, 9};

GenerateOptions greedy(int64_t max_tokens) {
  return {.max_tokens = max_tokens, .ignore_eos = true};
}

TEST(GeneratorTest, GreedyTokensAreTheModelsArgmax) {
  Generator generator = make_generator();
  const auto result = generator.run({kPrompt}, greedy(20)).at(0);
  ASSERT_EQ(result.tokens.size(), 20u);
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.logprobs.size(), 20u);
  Model model = make_model();
  auto logits = model.prefill(0, kPrompt);
  for (int32_t token : result.tokens) {
    EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
    logits = model.decode(std::vector<int32_t>{token});
  }
}

// Generators that share a model must not take each other's keys and values for their own.
TEST(GeneratorTest, ReuseNoticesThatSomeoneElseWroteTheCaches) {
  Model model = make_model();
  Generator a(model, runtime::test_tokenizer()), b(model, runtime::test_tokenizer());
  GenerateOptions options = greedy(12);
  options.reuse_cache = true;
  const auto expected = make_generator().run({kPrompt}, options).at(0).tokens;
  EXPECT_EQ(a.run({kPrompt}, options).at(0).tokens, expected);
  const std::vector<int32_t> same_length = {2, 9, 8, 7, 6, 5, 4, 3};
  b.run({same_length}, options);
  EXPECT_EQ(a.run({kPrompt}, options).at(0).tokens, expected);
  model.logits(std::vector<int32_t>(kPrompt.size() + 11, 9));
  EXPECT_EQ(a.run({kPrompt}, options).at(0).tokens, expected);
}

TEST(GeneratorTest, BadSamplingParamsAreRefusedBeforeThePrompt) {
  Generator generator = make_generator();
  GenerateOptions options = greedy(5);
  options.sampling.top_p = 0.0f;
  EXPECT_THROW(generator.run({kPrompt}, options), Error);
  EXPECT_EQ(generator.model().length(), 0);
}

TEST(GeneratorTest, AnExceptionOfTheCallerLeavesTheModelUsable) {
  Generator generator = make_generator();
  const auto expected = make_generator().run({kPrompt}, greedy(10)).at(0).tokens;
  int count = 0;
  EXPECT_THROW(generator.run({kPrompt}, greedy(10),
                             [&](const TokenEvent&) {
                               if (++count == 3) throw std::runtime_error("enough");
                             }),
               std::runtime_error);
  EXPECT_EQ(generator.run({kPrompt}, greedy(10)).at(0).tokens, expected);
}

TEST(GeneratorTest, StreamedTextIsTheResult) {
  Generator generator = make_generator();
  std::string streamed;
  std::vector<int32_t> ids;
  const auto result = generator
                          .run({kPrompt}, greedy(30),
                               [&](const TokenEvent& event) {
                                 streamed += event.text;
                                 ids.push_back(event.id);
                               })
                          .at(0);
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(ids, result.tokens);
  EXPECT_EQ(result.text, generator.tokenizer().decode(result.tokens, true));
}

TEST(GeneratorTest, BatchesGiveTheTokensOfSingles) {
  const std::vector<std::vector<int32_t>> prompts = {kPrompt, kOther, {2}, {2, 5, 6}, kPrompt};
  GenerateOptions options = greedy(25);
  Generator one = make_generator(1);
  const auto singles = one.run(prompts, options);
  for (int batch : {2, 3, 5}) {
    Generator many = make_generator(batch);
    const auto results = many.run(prompts, options);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(results[i].tokens, singles[i].tokens) << batch << " " << i;
      EXPECT_EQ(results[i].logprobs, singles[i].logprobs) << batch << " " << i;
    }
  }
}

TEST(GeneratorTest, SampledTokensDoNotDependOnTheBatch) {
  const std::vector<std::vector<int32_t>> prompts = {kPrompt, kOther, kPrompt};
  GenerateOptions options = greedy(25);
  options.sampling = {.temperature = 1.5f, .top_k = 40, .top_p = 0.95f, .seed = 7};
  Generator one = make_generator(1);
  Generator three = make_generator(3);
  const auto a = one.run(prompts, options);
  const auto b = three.run(prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(a[i].tokens, b[i].tokens) << i;
  EXPECT_NE(a[0].tokens, a[2].tokens) << "equal prompts are sampled apart";
  options.sampling.seed = 8;
  EXPECT_NE(one.run(prompts, options)[0].tokens, a[0].tokens);
}

TEST(GeneratorTest, SequencesThatEndEarlyDoNotDisturbTheOthers) {
  Generator one = make_generator(1);
  const auto free = one.run({kPrompt, kOther}, greedy(25));
  // A token that only one of the two replies uses ends that reply.
  int checked = 0;
  for (size_t stopped = 0; stopped < 2; ++stopped) {
    const auto& mine = free[stopped].tokens;
    const auto& others = free[1 - stopped].tokens;
    const auto stop = std::find_if(mine.begin() + 1, mine.end(), [&](int32_t id) {
      return std::find(others.begin(), others.end(), id) == others.end();
    });
    if (stop == mine.end()) continue;
    ++checked;
    GenerateOptions options = greedy(25);
    options.stop_ids = {*stop};
    Generator two = make_generator(2);
    const auto results = two.run({kPrompt, kOther}, options);
    EXPECT_EQ(results[stopped].finish, FinishReason::kEos);
    EXPECT_EQ(results[stopped].tokens.back(), *stop);
    EXPECT_LT(results[stopped].tokens.size(), mine.size());
    EXPECT_EQ(results[1 - stopped].tokens, others);
  }
  EXPECT_EQ(checked, 2);
}

TEST(GeneratorTest, EndTokenIsReportedWithoutText) {
  Generator generator = make_generator();
  const auto free = generator.run({kPrompt}, greedy(10)).at(0);
  GenerateOptions options = greedy(10);
  options.stop_ids = {free.tokens[0]};
  std::vector<TokenEvent> events;
  const auto result =
      generator.run({kPrompt}, options, [&](const TokenEvent& e) { events.push_back(e); }).at(0);
  EXPECT_EQ(result.finish, FinishReason::kEos);
  EXPECT_EQ(result.text, "");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, free.tokens[0]);
}

TEST(GeneratorTest, StopStringIsCutOffAndNeverStreamed) {
  Generator generator = make_generator();
  const auto free = generator.run({kPrompt}, greedy(30)).at(0);
  ASSERT_GT(free.text.size(), 12u);
  const std::string stop = free.text.substr(5, 4);  // across token borders
  GenerateOptions options = greedy(30);
  options.stop = {stop};
  std::string streamed;
  const auto result =
      generator.run({kPrompt}, options, [&](const TokenEvent& event) { streamed += event.text; })
          .at(0);
  EXPECT_EQ(result.finish, FinishReason::kStop);
  EXPECT_EQ(result.text, free.text.substr(0, free.text.find(stop)));
  EXPECT_EQ(streamed, result.text);
}

TEST(GeneratorTest, FullContextEndsTheReply) {
  Generator generator = make_generator(2, 20);
  const auto results = generator.run({kPrompt, kOther}, greedy(100));
  // The last token is sampled but needs no slot.
  EXPECT_EQ(results[0].finish, FinishReason::kContextFull);
  EXPECT_EQ(results[0].tokens.size(), 20 - kPrompt.size() + 1);
  EXPECT_EQ(results[1].finish, FinishReason::kContextFull);
  EXPECT_EQ(results[1].tokens.size(), 20 - kOther.size() + 1);
  EXPECT_EQ(results[1].tokens, make_generator(1, 20).run({kOther}, greedy(100))[0].tokens);
}

TEST(GeneratorTest, PromptThatDoesNotFit) {
  Generator generator = make_generator(1, 7);
  try {
    generator.run({kPrompt});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContextFull);
  }
}

TEST(GeneratorTest, CancelledWhileDecodingAndWhileReadingThePrompt) {
  Generator generator = make_generator();
  int asked = 0;
  GenerateOptions options = greedy(50);
  options.cancelled = [&] { return ++asked > 6; };
  const auto result = generator.run({kPrompt}, options).at(0);
  EXPECT_EQ(result.finish, FinishReason::kCancelled);
  EXPECT_EQ(result.tokens.size(), 6u);  // one prefill chunk, five steps
  EXPECT_EQ(result.text, generator.tokenizer().decode(result.tokens, true));
  options.cancelled = [] { return true; };
  const auto nothing = generator.run({kPrompt, kOther}, options);
  for (const auto& each : nothing) {
    EXPECT_EQ(each.finish, FinishReason::kCancelled);
    EXPECT_TRUE(each.tokens.empty());
  }
  // The next run is not disturbed.
  EXPECT_EQ(generator.run({kPrompt}, greedy(6)).at(0).tokens, result.tokens);
}

TEST(GeneratorTest, ReusedCacheGivesTheSameTokensForLessWork) {
  Generator generator = make_generator();
  GenerateOptions options = greedy(12);
  options.reuse_cache = true;
  const auto first = generator.run({kPrompt}, options).at(0);
  EXPECT_EQ(generator.stats().cached_tokens, 0);
  std::vector<int32_t> turn2 = kPrompt;
  turn2.insert(turn2.end(), first.tokens.begin(), first.tokens.end());
  turn2.insert(turn2.end(), {9, 33, 140});
  const auto second = generator.run({turn2}, options).at(0);
  // The last sampled token was never fed.
  EXPECT_EQ(generator.stats().cached_tokens,
            static_cast<int64_t>(kPrompt.size() + first.tokens.size()) - 1);
  EXPECT_EQ(second.tokens, make_generator().run({turn2}, greedy(12)).at(0).tokens);
  // A prompt that goes another way after the shared part, and the very same one again.
  std::vector<int32_t> other = kPrompt;
  other.back() = 12;
  EXPECT_EQ(generator.run({other}, options).at(0).tokens,
            make_generator().run({other}, greedy(12)).at(0).tokens);
  EXPECT_EQ(generator.stats().cached_tokens, static_cast<int64_t>(kPrompt.size()) - 1);
  EXPECT_EQ(generator.run({kPrompt}, options).at(0).tokens, first.tokens);
  generator.reset();
  EXPECT_TRUE(generator.cached_tokens().empty());
}

TEST(GeneratorTest, LogprobsAndAlternatives) {
  Generator generator = make_generator();
  GenerateOptions options = greedy(4);
  options.logprobs = 3;
  std::vector<TokenEvent> events;
  generator.run({kPrompt}, options, [&](const TokenEvent& e) { events.push_back(e); });
  Model model = make_model();
  auto logits = model.prefill(0, kPrompt);
  for (const TokenEvent& event : events) {
    double sum = 0.0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit));
    ASSERT_EQ(event.top_logprobs.size(), 3u);
    EXPECT_EQ(event.top_logprobs[0].id, event.id);
    for (const TokenLogprob& top : event.top_logprobs) {
      EXPECT_NEAR(top.logprob, logits[static_cast<size_t>(top.id)] - std::log(sum), 1e-4);
    }
    EXPECT_EQ(event.logprob, event.top_logprobs[0].logprob);
    logits = model.decode(std::vector<int32_t>{event.id});
  }
  options.logprobs = -1;
  EXPECT_TRUE(generator.run({kPrompt}, options).at(0).logprobs.empty());
}

TEST(GeneratorTest, RepetitionPenaltySeesPromptAndReply) {
  Generator generator = make_generator();
  GenerateOptions options = greedy(30);
  options.sampling.presence_penalty = 1000.0f;
  options.sampling.penalty_window = -1;
  const auto result = generator.run({kPrompt}, options).at(0);
  std::vector<int32_t> seen = kPrompt;
  for (int32_t id : result.tokens) {
    EXPECT_EQ(std::find(seen.begin(), seen.end(), id), seen.end()) << id;
    seen.push_back(id);
  }
}

TEST(GeneratorTest, NoTokensAsked) {
  Generator generator = make_generator();
  const auto result = generator.run({kPrompt}, greedy(0)).at(0);
  EXPECT_TRUE(result.tokens.empty());
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(generator.cached_tokens().size(), kPrompt.size());
}

TEST(GeneratorTest, Statistics) {
  Generator generator = make_generator(2);
  int64_t last_done = -1;
  GenerateOptions options = greedy(10);
  options.prompt_progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, static_cast<int64_t>(kPrompt.size() + kOther.size()));
    EXPECT_GE(done, last_done);
    last_done = done;
  };
  generator.run({kPrompt, kOther}, options);
  const GenerateStats& stats = generator.stats();
  EXPECT_EQ(last_done, static_cast<int64_t>(kPrompt.size() + kOther.size()));
  EXPECT_EQ(stats.prompt_tokens, last_done);
  EXPECT_EQ(stats.generated_tokens, 20);
  EXPECT_EQ(stats.first_tokens, 2);
  EXPECT_GT(stats.prompt_rate(), 0.0);
  EXPECT_GT(stats.generation_rate(), 0.0);
}

TEST(GeneratorTest, StatisticsOfAnInterruptedPrompt) {
  Generator generator = make_generator();
  const std::vector<int32_t> prompt(150, 9);  // chunks of 64
  GenerateOptions options = greedy(10);
  int asked = 0;
  options.cancelled = [&] { return ++asked > 2; };
  EXPECT_EQ(generator.run({prompt}, options).at(0).finish, FinishReason::kCancelled);
  EXPECT_EQ(generator.stats().prompt_tokens, 128);
  EXPECT_EQ(generator.stats().generated_tokens, 0);
  EXPECT_EQ(generator.stats().generation_rate(), 0.0);
}

TEST(GeneratorTest, RefusesBadPrompts) {
  Generator generator = make_generator();
  EXPECT_THROW(generator.run({{}}), Error);
  EXPECT_THROW(generator.run({{2, 256}}), Error);
  EXPECT_THROW(generator.run({{-1}}), Error);
  EXPECT_THROW(generator.run({kPrompt}, {.max_tokens = -1}), Error);
  EXPECT_TRUE(generator.run({}).empty());
}

}  // namespace
}  // namespace mlxn
