// SPDX-License-Identifier: Apache-2.0
// The shipped model gives the same bits in every run, to a sequence alone and among others, and
// from a captured step as from direct launches.
#include "golden_kit.h"
#include "mlxn/generator.h"

namespace mlxn {
namespace {

using namespace golden;

using Prompts = std::vector<std::vector<int32_t>>;
using Bits = std::vector<uint32_t>;  // of logits

// On a GPU all of it; the emulator takes seconds for a token.
int runs() { return test_device_id() == "cuda" ? 10 : 2; }
int steps() { return is_emulated() ? 1 : test_device_id() == "cuda" ? 16 : 4; }
size_t sequences() { return is_emulated() ? 2 : 9; }

// Pieces of one text, of 10 to 330 tokens, on a GPU up to 1098; a ring holds 256 and a chunk.
Prompts prompts() {
  const auto text = Golden("demo/goldens", "q4_0.safetensors").ints("recall.ids");
  Prompts all(sequences());
  for (size_t s = 0; s < all.size(); ++s) {
    const size_t length = is_emulated() ? 2 + s : 10 + (runs() == 10 ? 17 : 5) * s * s;
    const auto begin = text.begin() + static_cast<int64_t>(16 * s);
    all[s].assign(begin, begin + static_cast<int64_t>(length));
  }
  return all;
}

void append(Bits& bits, std::span<const float> row) {
  const size_t old = bits.size();
  bits.resize(old + row.size());
  std::memcpy(bits.data() + old, row.data(), row.size_bytes());
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

// Of each sequence, behind its prompt and behind every greedy token.
std::vector<Bits> greedy(ModelImpl& model, const Prompts& prompts, decltype(&decode_step) step) {
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  std::vector<Bits> all(prompts.size());
  std::vector<int32_t> next;
  model.reset();
  for (size_t s = 0; s < prompts.size(); ++s) {
    model.prefill(static_cast<int64_t>(s), prompts[s]);
    const auto logits = last_logits(model);
    append(all[s], logits);
    next.push_back(argmax(logits));
  }
  for (int i = 0; i < steps(); ++i) {
    const auto logits = step(model, next);
    for (size_t s = 0; s < prompts.size(); ++s) {
      const auto row = std::span(logits).subspan(s * vocab, vocab);
      append(all[s], row);
      next[s] = argmax(row);
    }
  }
  return all;
}

struct Shipped {
  const char* label;
  const char* model;
  KvType kv_type;
};

void PrintTo(const Shipped& s, std::ostream* out) { *out << s.label; }

class BitsTest : public testing::TestWithParam<Shipped> {
 protected:
  Model load(const Device& device, size_t batch) const {
    return Model::load(
        device, checkpoint_,
        {.max_context = 1280, .batch = static_cast<int>(batch), .kv_type = GetParam().kv_type});
  }

  const Checkpoint checkpoint_ = Checkpoint::open(path_of(GetParam().model));
  const Prompts prompts_ = prompts();
};

TEST_P(BitsTest, EveryRun) {
  std::vector<Bits> first;
  std::vector<GenerateResult> first_replies;
  for (int run = 0; run < runs(); ++run) {
    const Model model = load(test_device("", 2, false), prompts_.size());
    const auto bits = greedy(model.impl(), prompts_, decode_step);
    Generator generator(model, load_tokenizer(checkpoint_));
    const auto replies = generator.run(prompts_, {.max_tokens = steps(), .ignore_eos = true});
    if (run == 0) {
      first = bits;
      first_replies = replies;
    }
    EXPECT_TRUE(bits == first) << run;
    for (size_t s = 0; s < replies.size(); ++s) {
      EXPECT_EQ(replies[s].text, first_replies[s].text) << run;
      EXPECT_EQ(replies[s].tokens, first_replies[s].tokens) << run;
      EXPECT_EQ(replies[s].logprobs, first_replies[s].logprobs) << run;
    }
  }
}

TEST_P(BitsTest, AloneAndAmongOthers) {
  const Device device = test_device("", 2, false);
  const Model together = load(device, prompts_.size()), alone = load(device, 1);
  const auto bits = greedy(together.impl(), prompts_, decode_step);
  for (size_t s = 0; s < prompts_.size(); ++s) {
    EXPECT_TRUE(greedy(alone.impl(), {prompts_[s]}, decode_step)[0] == bits[s]) << s;
  }
}

TEST_P(BitsTest, ReplayedAndLaunchedDirectly) {
  DeviceOptions serial = test_device("", 2, false).options();
  serial.serial = true;
  std::vector<Bits> first;
  for (const bool is_serial : {false, true}) {
    const Device device =
        is_serial ? Device::open(test_device_id(), serial) : test_device("", 2, false);
    const Model model = load(device, prompts_.size());
    const auto replayed = greedy(model.impl(), prompts_, decode_step);
    if (!is_serial) first = replayed;
    EXPECT_TRUE(replayed == first);
    EXPECT_TRUE(greedy(model.impl(), prompts_, direct_step) == first) << is_serial;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Caches, BitsTest,
    testing::Values(Shipped{"mlx_f16", "demo/model-mlx-4bit", f16},
                    Shipped{"mlx_tq4", "demo/model-mlx-4bit", KvType::tq(4)},
                    Shipped{"q4_0_f16", "demo/model-q4_0.gguf", f16},
                    Shipped{"q4_0_tq4", "demo/model-q4_0.gguf", KvType::tq(4)}),
    [](const testing::TestParamInfo<Shipped>& info) { return std::string(info.param.label); });

}  // namespace
}  // namespace mlxn
