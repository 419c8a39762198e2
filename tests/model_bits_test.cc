// SPDX-License-Identifier: Apache-2.0
// The shipped model gives the same bits in every run, to a sequence alone and among others, and
// from a captured step as from direct launches.
#include <bit>

#include "golden_kit.h"
#include "mlxn/generator.h"

namespace mlxn {
namespace {

using namespace golden;

using Prompts = std::vector<std::vector<int32_t>>;
using Rows = std::vector<std::vector<uint32_t>>;  // bits of the logits of each sequence

// A GPU does all of it; the emulator takes seconds for a token.
const bool on_gpu = test_device_id() == "cuda";
const int runs = on_gpu ? 10 : 2, steps = is_short() ? 1 : on_gpu ? 16 : 4;

// Pieces of one text: 10 to 330 tokens, on a GPU up to 1098; a ring holds 256 and a chunk.
Prompts make_prompts() {
  const auto text = Golden("demo/goldens", "q4_0.safetensors").ints("recall.ids");
  Prompts prompts(is_short() ? 2 : 9);
  for (size_t s = 0; s < prompts.size(); ++s) {
    const size_t length = is_short() ? 2 + s : 10 + (on_gpu ? 17 : 5) * s * s;
    const auto piece = std::span(text).subspan(16 * s, length);
    prompts[s].assign(piece.begin(), piece.end());
  }
  return prompts;
}

// What decode_step does, without a graph.
std::vector<float> direct_step(ModelImpl& model, std::span<const int32_t> tokens) {
  const auto rows = static_cast<int64_t>(tokens.size());
  std::vector<int32_t> positions, kv_len;
  for (int64_t s = 0; s < rows; ++s) {
    positions.push_back(static_cast<int32_t>(model.length(s)));
    kv_len.push_back(positions.back() + 1);
  }
  const models::StepState& step = model.decoder().scratch().step();
  model.set_step_tokens(tokens);
  models::copy_in(model.stream(), step.positions.rows(0, rows), positions.data());
  models::copy_in(model.stream(), step.kv_len.rows(0, rows), kv_len.data());
  model.decoder().decode(model.stream(), rows);
  model.stream().commit().wait();
  model.advance(rows);
  return last_logits(model, rows);
}

// Logits behind the prompts and behind every greedy token.
Rows greedy(const Model& of, const Prompts& prompts, decltype(&decode_step) step = decode_step) {
  ModelImpl& model = of.impl();
  Rows all(prompts.size());
  std::vector<int32_t> next(prompts.size());
  const auto add = [&](size_t s, std::span<const float> row) {
    for (const float logit : row) all[s].push_back(std::bit_cast<uint32_t>(logit));
    next[s] = argmax(row);
  };
  model.reset();
  for (size_t s = 0; s < prompts.size(); ++s) {
    model.prefill(static_cast<int64_t>(s), prompts[s]);
    add(s, last_logits(model));
  }
  for (int i = 0; i < steps; ++i) {
    const auto logits = step(model, next);
    const size_t vocab = logits.size() / prompts.size();
    for (size_t s = 0; s < prompts.size(); ++s) add(s, std::span(logits).subspan(s * vocab, vocab));
  }
  return all;
}

class BitsTest : public testing::TestWithParam<std::tuple<const char*, KvType>> {
 protected:
  Model load(size_t batch, bool serial = false) const {
    DeviceOptions options = test_device("", 2, false).options();
    options.serial = serial;
    const auto& [model, kv_type] = GetParam();
    return Model::load(Device::open(test_device_id(), options), Checkpoint::open(path_of(model)),
                       {.max_context = 1280, .batch = static_cast<int>(batch), .kv_type = kv_type});
  }

  const Prompts prompts = make_prompts();
};

TEST_P(BitsTest, EveryRun) {
  Rows first;
  std::vector<std::string> texts(prompts.size());
  for (int run = 0; run < runs; ++run) {
    const Model model = load(prompts.size());
    const Rows rows = greedy(model, prompts);
    if (run == 0) first = rows;
    EXPECT_TRUE(rows == first) << run;
    Generator generator(model, load_tokenizer(Checkpoint::open(path_of(std::get<0>(GetParam())))));
    const auto replies = generator.run(prompts, {.max_tokens = steps, .ignore_eos = true});
    for (size_t s = 0; s < prompts.size(); ++s) {
      if (run == 0) texts[s] = replies[s].text;
      EXPECT_EQ(replies[s].text, texts[s]) << run;
    }
  }
}

TEST_P(BitsTest, AloneAndAmongOthers) {
  const Rows together = greedy(load(prompts.size()), prompts);
  const Model alone = load(1);
  for (size_t s = 0; s < prompts.size(); ++s) {
    EXPECT_TRUE(greedy(alone, {prompts[s]})[0] == together[s]) << s;
  }
}

TEST_P(BitsTest, ReplayedAndLaunchedDirectly) {
  const Rows replayed = greedy(load(prompts.size()), prompts);
  for (const bool serial : {false, true}) {
    const Model model = load(prompts.size(), serial);
    EXPECT_TRUE(greedy(model, prompts, direct_step) == replayed) << serial;
    EXPECT_TRUE(greedy(model, prompts) == replayed) << serial;
  }
}

std::vector<std::tuple<const char*, KvType>> cases() {
  if (is_short()) return {{"demo/model-q4_0.gguf", KvType::tq(4)}};
  return {{"demo/model-mlx-4bit", f16},
          {"demo/model-mlx-4bit", KvType::tq(4)},
          {"demo/model-q4_0.gguf", f16},
          {"demo/model-q4_0.gguf", KvType::tq(4)}};
}

INSTANTIATE_TEST_SUITE_P(Shipped, BitsTest, testing::ValuesIn(cases()));

}  // namespace
}  // namespace mlxn
