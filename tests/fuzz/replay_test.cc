// SPDX-License-Identifier: Apache-2.0
// Runs every seed and every past finding through the fuzz targets, without a fuzzer.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" {
int fuzz_gguf(const uint8_t* data, size_t size);
int fuzz_safetensors(const uint8_t* data, size_t size);
int fuzz_config(const uint8_t* data, size_t size);
int fuzz_tokenizer(const uint8_t* data, size_t size);
int fuzz_chat_template(const uint8_t* data, size_t size);
}

namespace mlxn::fuzz {
namespace {

struct Target {
  const char* name;
  int (*run)(const uint8_t* data, size_t size);
  size_t least_inputs;
};

class Replay : public testing::TestWithParam<Target> {};

std::vector<std::filesystem::path> files_in(const std::string& folder) {
  std::vector<std::filesystem::path> result;
  const auto root = std::filesystem::path(MLXN_SOURCE_DIR) / "tests" / "fuzz" / folder;
  if (!std::filesystem::exists(root)) return result;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    result.push_back(entry.path());
  }
  return result;
}

// Exactly as many bytes as the file has, so that a sanitizer sees the first byte beyond them.
std::vector<uint8_t> read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(in), {});
  bytes.shrink_to_fit();
  return bytes;
}

TEST_P(Replay, SeedsAndPastFindings) {
  const Target& target = GetParam();
  std::vector<std::filesystem::path> inputs = files_in(std::string("seeds/") + target.name);
  EXPECT_GE(inputs.size(), target.least_inputs);
  for (const auto& path : files_in(std::string("regressions/") + target.name)) {
    inputs.push_back(path);
  }
  for (const auto& path : inputs) {
    const std::vector<uint8_t> bytes = read(path);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NO_THROW(target.run(bytes.data(), bytes.size())) << path;
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took, std::chrono::seconds(10)) << path;
    // Every prefix of a small file, too: files end where a copy was broken off.
    for (size_t size = 0; size < bytes.size() && bytes.size() < 4096; size += 1 + size / 64) {
      const std::vector<uint8_t> part(bytes.begin(), bytes.begin() + static_cast<long>(size));
      EXPECT_NO_THROW(target.run(part.data(), part.size())) << path << " cut to " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Replay,
                         testing::Values(Target{"gguf", fuzz_gguf, 5},
                                         Target{"safetensors", fuzz_safetensors, 7},
                                         Target{"config", fuzz_config, 10},
                                         Target{"tokenizer", fuzz_tokenizer, 10},
                                         Target{"chat_template", fuzz_chat_template, 20}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mlxn::fuzz
