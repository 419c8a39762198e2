// SPDX-License-Identifier: Apache-2.0
// Thousands of damaged files: each must load or give a typed error that names the file.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "checkpoint/config.h"
#include "checkpoint/gguf.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/test_util.h"
#include "mlxn/checkpoint.h"
#include "mlxn/device.h"

namespace mlxn::checkpoint {
namespace {

// One to four edits within the first `header` bytes.
std::string mutate(std::string image, size_t header, std::mt19937& random) {
  const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  for (size_t edits = 1 + below(4); edits > 0 && !image.empty(); --edits) {
    const size_t at = below(std::min(header, image.size()));
    switch (below(7)) {
      case 0:
        image[at] = static_cast<char>(image[at] ^ (1 << below(8)));
        break;
      case 1:
        image[at] = static_cast<char>(random());
        break;
      case 2: {  // sizes are 4 or 8 bytes: extreme values find missing overflow checks
        constexpr uint64_t kExtremes[] = {0,          1,          0x7fffffff, 0xffffffff,
                                          1ull << 62, 1ull << 63, ~0ull,      ~0ull - 31};
        const uint64_t value = kExtremes[below(8)];
        const size_t width = below(2) == 0 ? 4 : 8;
        std::memcpy(image.data() + at, &value, std::min(width, image.size() - at));
        break;
      }
      case 3:
        image.erase(at, 1 + below(8));
        break;
      case 4: {
        const size_t from = below(image.size());
        image.insert(at, image.substr(from, 1 + below(24)));
        break;
      }
      case 5:
        image[at] = "0123456789-{}[]\",:eE."[below(21)];
        break;
      default:
        image.resize(at);
    }
  }
  return image;
}

// Fixed, unless asked for others: --gtest_shuffle --gtest_random_seed=N.
uint32_t seed(int test) {
  return static_cast<uint32_t>(100 * ::testing::UnitTest::GetInstance()->random_seed() + test);
}

struct Outcome {
  int loaded = 0;
  int refused = 0;
};

template <typename Load>
void count(Load load, ErrorKind container, Outcome& outcome) {
  try {
    load();
    ++outcome.loaded;
  } catch (const Error& error) {
    ++outcome.refused;
    const ErrorKind kind = error.kind();
    ASSERT_TRUE(kind == container || kind == ErrorKind::kConfig ||
                kind == ErrorKind::kQuantConfig || kind == ErrorKind::kUnsupportedDtype)
        << error.what();
    ASSERT_FALSE(error.detail().where.empty()) << error.what();
    ASSERT_FALSE(error.detail().parameter.empty()) << error.what();
  }
}

// Reads every byte that the table claims to be there.
uint64_t touch(std::span<const std::byte> bytes, uint64_t begin, uint64_t end) {
  uint64_t sum = 0;
  for (std::byte b : bytes.subspan(begin, end - begin)) sum += static_cast<uint64_t>(b);
  return sum;
}

TEST(Mutation, Safetensors) {
  std::mt19937 random(seed(1));
  Outcome outcome;
  for (const char* name : {"torch.safetensors", "mlx.safetensors"}) {
    const std::string image = read_file(testdata(name));
    for (int i = 0; i < 4000; ++i) {
      const auto bytes = exact(mutate(image, image.size(), random));
      count(
          [&] {
            for (const auto& t : parse_safetensors(bytes, "f")) touch(bytes, t.begin, t.end);
          },
          ErrorKind::kSafetensors, outcome);
    }
  }
  EXPECT_GT(outcome.refused, 4000);
  EXPECT_GT(outcome.loaded, 20);
}

TEST(Mutation, Gguf) {
  std::mt19937 random(seed(2));
  Outcome outcome;
  for (const char* name : {"types.gguf", "gemma3_split-00002-of-00002.gguf"}) {
    const std::string image = read_file(testdata(name));
    for (int i = 0; i < 4000; ++i) {
      const auto bytes = exact(mutate(image, std::min<size_t>(image.size(), 900), random));
      count(
          [&] {
            const GgufHeader header = parse_gguf(bytes, "f");
            for (const auto& t : header.tensors) touch(bytes, t.begin, t.end);
            for (const auto& value : header.metadata) {
              if (value.element_type == GgufValueType::kString) decode_strings(value);
            }
          },
          ErrorKind::kGguf, outcome);
    }
  }
  EXPECT_GT(outcome.refused, 4000);
  EXPECT_GT(outcome.loaded, 20);
}

TEST(Mutation, WholeGgufModel) {
  const Device device = Device::open("cpu");
  std::mt19937 random(seed(3));
  Outcome outcome;
  const TempDir dir;
  const std::string image = read_file(testdata("gemma4.gguf"));
  for (int i = 0; i < 2000; ++i) {
    const auto path = dir.write("m.gguf", mutate(image, 5000, random));
    count(
        [&] {
          const Checkpoint checkpoint = Checkpoint::open(path);
          checkpoint.floats("norm.weight", checkpoint.config().hidden_size);
          const Weight down = checkpoint.weight(device, "layers.0.mlp.down_proj", {64, 64});
          check_weight(down, "down_proj");
          touch(down.data.span<std::byte>(), 0, down.data.byte_len());
        },
        ErrorKind::kGguf, outcome);
  }
  EXPECT_GT(outcome.refused, 500);
  EXPECT_GT(outcome.loaded, 10);
}

TEST(Mutation, ConfigJson) {
  std::mt19937 random(seed(4));
  Outcome outcome;
  const std::string generation = read_file(testdata("gemma4_raw/generation_config.json"));
  for (const char* name : {"gemma4_mlx/config.json", "gemma4_raw/config.json"}) {
    const std::string image = read_file(testdata(name));
    for (int i = 0; i < 4000; ++i) {
      const std::string text = mutate(image, image.size(), random);
      const std::string other =
          i % 4 == 0 ? mutate(generation, generation.size(), random) : generation;
      count(
          [&] {
            const Json config = Json::parse(text, "config.json");
            config_from_json(config, Json::parse(other, "generation_config.json"));
            const QuantConfig quant = QuantConfig::read(config);
            if (const auto params = quant.find("language_model.model.embed_tokens")) {
              quant.check(*params, "embed_tokens");
            }
          },
          ErrorKind::kConfig, outcome);
    }
  }
  EXPECT_GT(outcome.refused, 4000);
  EXPECT_GT(outcome.loaded, 20);
}

TEST(Mutation, DeepJson) {
  for (const char* unit : {"[", "{\"a\":", "[{\"a\":"}) {
    std::string text;
    for (int i = 0; i < 200'000; ++i) text += unit;
    expect_error([&] { Json::parse(text, "config.json"); }, ErrorKind::kConfig, "config.json");
  }
}

}  // namespace
}  // namespace mlxn::checkpoint
