// SPDX-License-Identifier: Apache-2.0
// The shipped model finds a number again that stood 3500 tokens before the question.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/generator.h"

namespace mlxn {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kItems = 1;  // sanitizers make it more than ten times slower
#else
constexpr size_t kItems = 6;  // out of recall.json
#endif

struct Item {
  std::vector<int32_t> prompt;
  std::string digits;
};

// Two base64 characters a token.
std::vector<int32_t> unpacked(const std::string& text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<int32_t> ids(text.size() / 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] =
        static_cast<int32_t>(64 * kAlphabet.find(text[2 * i]) + kAlphabet.find(text[2 * i + 1]));
  }
  return ids;
}

std::vector<Item> read_items() {
  std::ifstream stream(std::string(MLXN_SOURCE_DIR) + "/demo/recall.json");
  const auto json = nlohmann::json::parse(stream).at("items");
  std::vector<Item> items;
  for (size_t i = 0; i < kItems; ++i) {
    items.push_back({unpacked(json.at(i).at("prompt")), json.at(i).at("digits")});
  }
  return items;
}

std::string digits_of(const std::string& text) {
  std::string digits;
  for (char c : text) {
    if (c >= '0' && c <= '9') digits += c;
  }
  return digits;
}

struct File {
  const char* label;
  const char* path;
  KvType kv_type = f16;
};

void PrintTo(const File& file, std::ostream* out) { *out << file.label; }

class RecallTest : public testing::TestWithParam<File> {};

TEST_P(RecallTest, FindsTheNumber) {
  const Device device = Device::open("cpu", {.num_threads = 2});
  const Checkpoint checkpoint =
      Checkpoint::open(std::string(MLXN_SOURCE_DIR) + "/" + GetParam().path);
  Generator generator(
      Model::load(device, checkpoint, {.max_context = 4096, .kv_type = GetParam().kv_type}),
      load_tokenizer(checkpoint));
  const auto items = read_items();
  size_t right = 0;
  std::string wrong;
  for (const Item& item : items) {
    ASSERT_GE(item.prompt.size(), 3400u);
    const auto results = generator.run(
        {item.prompt}, {.max_tokens = 48, .sampling = {.temperature = 0.0f}, .logprobs = -1});
    const bool same =
        results[0].finish == FinishReason::kEos && digits_of(results[0].text) == item.digits;
    if (same) {
      ++right;
    } else {
      wrong += "\n  wanted " + item.digits + ", got \"" + results[0].text + "\"";
    }
  }
  RecordProperty("right", static_cast<int>(right));
  EXPECT_GE(static_cast<double>(right), 0.95 * static_cast<double>(items.size()))
      << right << " of " << items.size() << wrong;
}

INSTANTIATE_TEST_SUITE_P(Files, RecallTest,
                         testing::Values(File{"mlx", "demo/model-mlx-4bit"},
                                         File{"q4_0", "demo/model-q4_0.gguf"},
                                         File{"tq4", "demo/model-q4_0.gguf", KvType::tq(4)}),
                         [](const testing::TestParamInfo<File>& info) {
                           return std::string(info.param.label);
                         });

}  // namespace
}  // namespace mlxn
