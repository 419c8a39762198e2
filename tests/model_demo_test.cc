// SPDX-License-Identifier: Apache-2.0
// The shipped model, in both of its files, against transformers on the dequantised weights.
#include "golden_kit.h"

namespace mlxn {
namespace {

using namespace golden;

constexpr double kLogitTolerance = 2e-4;  // of the largest logit

// The emulator takes seconds for a token.
std::vector<std::string> prompts() {
  if (is_short()) return {"short"};
  return {"short", "chat", "sum", "count", "window", "recall"};
}
size_t tokens_of(const std::vector<int32_t>& greedy) {
  return is_short() ? std::min<size_t>(greedy.size(), 3) : greedy.size();
}

struct Shipped {
  const char* label;
  const char* model;
  const char* golden;
  bool dequantise;
};

void PrintTo(const Shipped& s, std::ostream* out) { *out << s.label; }

class DemoTest : public testing::TestWithParam<Shipped> {
 protected:
  DemoTest()
      : golden_("demo/goldens", GetParam().golden),
        model_(build(GetParam().model, {.max_context = 2048, .kv_type = f32, .prefill_chunk = 512},
                     edits())) {}

  static Edits edits() {
    Edits edits;
    if (GetParam().dequantise) edits.weights = dequantise_all;
    return edits;
  }

  Golden golden_;
  std::unique_ptr<ModelImpl> model_;
};

TEST_P(DemoTest, Logits) {
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  for (const std::string& prompt : prompts()) {
    const auto ids = golden_.ints(prompt + ".ids");
    const auto positions = golden_.ints(prompt + ".positions");
    const auto want = golden_.floats(prompt + ".logits");
    const auto all = all_logits(*model_, ids);
    std::vector<float> got;
    for (int32_t position : positions) {
      const auto row = std::span(all).subspan(static_cast<size_t>(position) * vocab, vocab);
      got.insert(got.end(), row.begin(), row.end());
    }
    const double error = relative_error(got, want);
    RecordProperty(prompt, std::to_string(error));
    EXPECT_LT(error, kLogitTolerance) << prompt;
  }
}

TEST_P(DemoTest, GreedyTokens) {
  for (const std::string& prompt : prompts()) {
    auto want = golden_.ints(prompt + ".greedy");
    want.resize(tokens_of(want));
    model_->reset();
    model_->prefill(0, golden_.ints(prompt + ".ids"));
    std::vector<int32_t> got = {argmax(last_logits(*model_))};
    while (got.size() < want.size()) {
      got.push_back(argmax(decode_step(*model_, {&got.back(), 1})));
    }
    EXPECT_EQ(got, want) << prompt;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files, DemoTest,
    testing::Values(Shipped{"mlx", "demo/model-mlx-4bit", "mlx.safetensors", false},
                    Shipped{"mlx_dequantised", "demo/model-mlx-4bit", "mlx.safetensors", true},
                    Shipped{"q4_0", "demo/model-q4_0.gguf", "q4_0.safetensors", false},
                    Shipped{"q4_0_dequantised", "demo/model-q4_0.gguf", "q4_0.safetensors", true}),
    [](const testing::TestParamInfo<Shipped>& info) { return std::string(info.param.label); });

}  // namespace
}  // namespace mlxn
