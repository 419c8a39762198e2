// SPDX-License-Identifier: Apache-2.0
// Decoders against transformers: every branch of Gemma 3 and 4, every way to feed a prompt.
#include "golden_kit.h"

namespace mlxn {
namespace {

using namespace golden;

constexpr double kLogitTolerance = 2e-4;   // of the largest logit
constexpr double kHiddenTolerance = 5e-5;  // of the largest value of the layer's output

struct Case {
  std::string model;
  std::string file = "golden.safetensors";
  int64_t top_k = 0;        // experts, if not those of the config
  bool dequantise = false;  // run the file's weights through dense kernels
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model << " " << c.file; }

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const int64_t top_k = info.param.top_k;
  return info.param.model + (top_k > 0 ? "_top" + std::to_string(top_k) : "");
}

class CaseTest : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<ModelImpl> model(ModelOptions options = exact_options(), int threads = 2) const {
    Edits edits;
    edits.config = [&](ModelConfig& config) {
      if (GetParam().top_k > 0) config.moe.top_k = GetParam().top_k;
    };
    if (GetParam().dequantise) edits.weights = dequantise_all;
    return build(GetParam().model, std::move(options), edits, threads);
  }
  Golden golden_{GetParam().model, GetParam().file};
};

// How close the decoder is to transformers. Quantised files run dequantised here, as the goldens
// did; QuantisedTest looks at their own kernels.
class GoldenTest : public CaseTest {};
// What has to hold bit for bit or token for token, with the kernels that each format really uses.
class ExactTest : public CaseTest {};
class QuantisedTest : public CaseTest {};

TEST_P(GoldenTest, LogitsOfEveryPosition) {  // of the last ones of a long prompt
  const auto m = model();
  for (int p = 0; golden_.has("ids_" + std::to_string(p)); ++p) {
    const auto want = golden_.floats("logits_" + std::to_string(p));
    const auto got = all_logits(*m, golden_.prompt(p));
    ASSERT_GE(got.size(), want.size());
    EXPECT_LT(relative_error(std::span(got).last(want.size()), want), kLogitTolerance) << p;
  }
}

TEST_P(GoldenTest, LogitsOfTheLastPositionAlone) {
  const auto m = model();
  for (int p = 0; golden_.has("ids_" + std::to_string(p)); ++p) {
    const auto want = golden_.floats("logits_" + std::to_string(p));
    const auto vocab = static_cast<size_t>(m->config().vocab_size);
    m->reset();
    m->prefill(0, golden_.prompt(p));
    EXPECT_LT(relative_error(last_logits(*m), std::span(want).last(vocab)), kLogitTolerance) << p;
  }
}

TEST_P(GoldenTest, HiddenStatesAndRoutes) {
  const auto m = model();
  const Shape shape = golden_.shape("hidden_0");
  models::Trace trace;
  trace.hidden = m->device().alloc(f32, shape);
  const bool has_routes = golden_.has("router_ids_0");
  if (has_routes) {
    trace.router_ids = m->device().alloc(u32, golden_.shape("router_ids_0"));
    trace.router_weights = m->device().alloc(f32, golden_.shape("router_ids_0"));
  }
  const auto ids = golden_.prompt(0);
  std::vector<float> logits(ids.size() * static_cast<size_t>(m->config().vocab_size));
  m->prefill(0, ids, logits.data(), {.before_chunk = {}, .trace = trace});

  const auto want = golden_.floats("hidden_0");
  const auto got = models::copy_out<float>(m->device(), trace.hidden);
  const auto layer_size = static_cast<size_t>(shape[1] * shape[2]);
  for (size_t i = 0; i < static_cast<size_t>(shape[0]); ++i) {
    EXPECT_LT(relative_error(std::span(got).subspan(i * layer_size, layer_size),
                             std::span(want).subspan(i * layer_size, layer_size)),
              kHiddenTolerance)
        << "after layer " << i;
  }
  if (!has_routes) return;
  const auto want_ids = golden_.ints("router_ids_0");
  EXPECT_EQ(models::copy_out<int32_t>(m->device(), trace.router_ids), want_ids);
  EXPECT_LT(relative_error(models::copy_out<float>(m->device(), trace.router_weights),
                           golden_.floats("router_weights_0")),
            2e-4);
}

TEST_P(ExactTest, GreedyContinuation) {
  const auto m = model();
  for (int p = 0; p < 3; ++p) {
    const auto want = golden_.ints("greedy_" + std::to_string(p));
    m->reset();
    m->prefill(0, golden_.prompt(p));
    std::vector<int32_t> got = {argmax(last_logits(*m))};
    while (got.size() < want.size()) got.push_back(argmax(decode_step(*m, {&got.back(), 1})));
    EXPECT_EQ(got, want) << p;
  }
}

TEST_P(GoldenTest, ChunkedPrefill) {
  const auto want = golden_.floats("logits_0");
  for (int64_t chunk : {1, 3, 4, 5, 12}) {
    const auto m = model(exact_options(chunk));
    EXPECT_LT(relative_error(all_logits(*m, golden_.prompt(0)), want), kLogitTolerance) << chunk;
    // The same without the logits of the other positions.
    m->reset();
    m->prefill(0, golden_.prompt(0));
    const auto vocab = static_cast<size_t>(m->config().vocab_size);
    EXPECT_LT(relative_error(last_logits(*m), std::span(want).last(vocab)), kLogitTolerance)
        << chunk;
  }
}

TEST_P(GoldenTest, TokenByToken) {
  const auto m = model();
  const auto ids = golden_.prompt(0);
  const auto want = golden_.floats("logits_0");
  const auto vocab = static_cast<size_t>(m->config().vocab_size);
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_LT(
        relative_error(decode_step(*m, {&ids[i], 1}), std::span(want).subspan(i * vocab, vocab)),
        kLogitTolerance)
        << "token " << i;
  }
}

TEST_P(ExactTest, BatchEqualsSinglesBitForBit) {
  const auto pair = model(exact_options(64, 2));
  std::vector<std::unique_ptr<ModelImpl>> singles;
  for (int64_t s = 0; s < 2; ++s) {
    const auto ids = golden_.prompt(static_cast<int>(s));
    pair->prefill(s, ids);
    const auto in_pair = last_logits(*pair);
    singles.push_back(model());
    singles.back()->prefill(0, ids);
    EXPECT_EQ(in_pair, last_logits(*singles.back())) << s;
  }
  const auto vocab = static_cast<size_t>(pair->config().vocab_size);
  for (int32_t token = 3; token < 15; ++token) {
    const std::vector<int32_t> tokens = {token, 2 * token + 1};
    const auto both = decode_step(*pair, tokens);
    for (size_t s = 0; s < 2; ++s) {
      const auto alone = decode_step(*singles[s], {&tokens[s], 1});
      ASSERT_TRUE(std::equal(alone.begin(), alone.end(), both.begin() + s * vocab)) << token;
    }
  }
}

TEST_P(ExactTest, ThreadCountDoesNotChangeBits) {
  std::vector<float> first;
  for (int threads : {1, 2, 3, 8}) {
    const auto m = model(exact_options(), threads);
    auto logits = all_logits(*m, golden_.prompt(0));
    const int32_t token = 9;
    const auto step = decode_step(*m, {&token, 1});
    logits.insert(logits.end(), step.begin(), step.end());
    if (threads == 1) first = logits;
    EXPECT_EQ(logits, first) << threads;
  }
}

TEST_P(ExactTest, PreparedWeightsDoNotChangeBits) {
  ModelOptions plain = exact_options();
  plain.prepare = false;
  EXPECT_EQ(all_logits(*model(), golden_.prompt(0)), all_logits(*model(plain), golden_.prompt(0)));
}

TEST_P(QuantisedTest, IntegerKernelsStayWithinTheModelsSensitivity) {
  const auto nudged =
      build(GetParam().model, exact_options(),
            {.config = {}, .weights = dequantise_and_nudge, .config_after_load = {}});
  const auto stored = model();
  double sensitivity = 0.0;
  double error = 0.0;
  for (int p = 0; p < 3; ++p) {
    const auto want = golden_.floats("logits_" + std::to_string(p));
    const auto ids = golden_.prompt(p);
    sensitivity = std::max(sensitivity, relative_error(all_logits(*nudged, ids), want));
    error = std::max(error, relative_error(all_logits(*stored, ids), want));
  }
  // One place per layer is nudged, while every matrix product rounds.
  EXPECT_LT(error, std::max(kLogitTolerance, 4.0 * sensitivity));
  EXPECT_LT(sensitivity, 5e-3);  // else the bound would say nothing
}

// The emulator takes minutes for all of them.
std::vector<Case> float_cases() {
  if (is_short()) return {{.model = "gemma4_e"}, {.model = "gemma4_moe"}, {.model = "gemma3"}};
  return {
      {.model = "gemma4_e"},
      {.model = "gemma4_dense"},
      {.model = "gemma4_dense_null"},
      {.model = "gemma4_moe"},
      {.model = "gemma4_moe", .file = "golden_top1.safetensors", .top_k = 1},
      {.model = "gemma4_moe", .file = "golden_top8.safetensors", .top_k = 8},
      {.model = "gemma4_moe_ple"},
      {.model = "gemma3"},
  };
}

std::vector<Case> quantised_cases(bool dequantise) {
  std::vector<std::string> names = {"gemma4_moe_mlx4", "gemma4_e_q4_0", "gemma3_q8_0"};
  if (!is_short()) {
    names.insert(names.end(), {"gemma4_e_mlx4", "gemma3_mlx8", "gemma4_moe_q8_0"});
  }
  std::vector<Case> cases;
  for (const std::string& name : names) cases.push_back({.model = name, .dequantise = dequantise});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Float, GoldenTest, testing::ValuesIn(float_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Dequantised, GoldenTest, testing::ValuesIn(quantised_cases(true)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Float, ExactTest, testing::ValuesIn(float_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Quantised, ExactTest, testing::ValuesIn(quantised_cases(false)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Quantised, QuantisedTest, testing::ValuesIn(quantised_cases(false)),
                         case_name);

// Chunk boundaries at multiples of the key tile cost no bit.
TEST(ModelTest, ChunksOf64EqualTheWholePromptBitForBit) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < (is_short() ? 130 : 200); ++i) ids.push_back((i * 53 + i * i) % 256);
  for (const char* model : {"gemma4_e", "gemma4_moe", "gemma3"}) {
    for (const KvType type : {KvType(f16), KvType::tq(4)}) {
      if ((type.is_coded() || is_short()) && model != std::string("gemma4_e")) continue;
      std::vector<float> first;
      for (int64_t chunk : {256, 64, 128}) {
        ModelOptions options{.max_context = 256, .batch = 1, .kv_type = type};
        options.prefill_chunk = chunk;
        const auto m = build(model, options);
        const auto logits = all_logits(*m, ids);
        if (first.empty()) first = logits;
        EXPECT_EQ(logits, first) << model << " " << name(type) << " " << chunk;
      }
    }
  }
}

// Layers that share caches, windows and full layers under every type of cache: a prompt in chunks
// and steps of a batch give the bits of the prompt at once and of a sequence alone.
TEST(ModelTest, EveryCacheTypeInChunksAndBatches) {
  const int32_t length = is_short() ? 70 : 150;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < length; ++i) ids.push_back((i * 53 + i * i) % 256);
  std::vector<const char*> types = {"tq2", "tq5", "tq8/tq4"};
  if (!is_short()) {
    types.insert(types.end(), {"f32", "f16", "bf16", "tq3", "tq4", "tq6", "tq8", "tq4/tq2"});
  }
  for (const std::string model : {"gemma4_e", "gemma4_moe"}) {
    for (const char* text : types) {
      SCOPED_TRACE(model + " " + text);
      const KvTypes types_of_both = parse_kv_types(text).value();
      ModelOptions options{.max_context = 200, .batch = 1};
      options.kv_type = types_of_both.k;
      options.kv_type_v = types_of_both.v;
      options.prefill_chunk = 64;
      const auto alone = build(model, options);
      alone->prefill(0, ids);
      const auto chunked = last_logits(*alone);
      options.prefill_chunk = 256;
      options.batch = 2;
      const auto pair = build(model, options);
      pair->prefill(1, std::span(ids).first(40));
      pair->prefill(0, ids);
      ASSERT_EQ(last_logits(*pair), chunked);
      for (const float value : chunked) ASSERT_TRUE(std::isfinite(value));
      for (int32_t token = 5; token < 9; ++token) {
        const std::vector<int32_t> tokens = {token, 3 * token};
        const auto both = decode_step(*pair, tokens), one = decode_step(*alone, {&token, 1});
        ASSERT_TRUE(std::equal(one.begin(), one.end(), both.begin())) << token;
      }
    }
  }
}

TEST(ModelTest, SixteenBitCachesStayClose) {
  const Golden golden("gemma3");  // the model that enlarges rounding least
  for (DType type : {f16, bf16}) {
    ModelOptions options = exact_options();
    options.kv_type = type;
    const auto m = build("gemma3", options);
    const double error =
        relative_error(all_logits(*m, golden.prompt(0)), golden.floats("logits_0"));
    EXPECT_LT(error, type == f16 ? 5e-3 : 4e-2) << name(type);
    EXPECT_GT(error, 0.0) << name(type);
  }
}

// Errors shrink with the width of the codes, in prefill and in decode.
TEST(ModelTest, CodedCachesFollow) {
  const Golden golden("gemma3");
  const auto prompt = golden.prompt(0);
  const auto error_of = [&](KvType k, KvType v) {
    ModelOptions options = exact_options();
    options.kv_type = k;
    options.kv_type_v = v;
    return relative_error(all_logits(*build("gemma3", options), prompt), golden.floats("logits_0"));
  };
  double last = 1.0;
  for (int bits : {3, 4, 6, 8}) {
    const double error = error_of(KvType::tq(bits), KvType::tq(bits));
    EXPECT_LT(error, 0.9 * last) << bits;
    last = error;
  }
  EXPECT_LT(last, 0.05);
  EXPECT_GT(error_of(KvType::tq(8), KvType::tq(4)), last);
}

}  // namespace
}  // namespace mlxn
