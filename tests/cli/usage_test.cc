// SPDX-License-Identifier: Apache-2.0
// What flags may say, and where they may come from.
#include <cstdio>
#include <fstream>

#include "command.h"

namespace mlxn::testing {
namespace {

// Exit code 2 and a message that names the flag.
void expect_usage_error(const std::vector<std::string>& arguments, const std::string& named,
                        const ProcessInput& input = {}) {
  const ProcessResult result = mlxn(arguments, input);
  EXPECT_EQ(result.exit_code, 2) << named << "\n" << result.err;
  EXPECT_TRUE(contains(result.err, named)) << named << "\n" << result.err;
  EXPECT_EQ(result.out, "");
}

void expect_generate_error(std::vector<std::string> more, const std::string& named) {
  more.insert(more.begin(), {"generate", "-m", kModel});
  expect_usage_error(more, named);
}

TEST(Usage, LastOfARepeatedFlagCounts) {
  const json once = generate_json({"-p", "Hello", "-n", "4", "--ignore-eos"});
  const json twice = generate_json({"-p", "Bye", "-n", "9", "-m", "/nonexistent", "-m", kModel,
                                    "-p", "Hello", "-n", "4", "--ignore-eos"});
  EXPECT_EQ(once["tokens"], twice["tokens"]);
  EXPECT_EQ(once["tokens"].size(), 4u);
}

TEST(Usage, EveryStopStringCountsAndTakesOneValue) {
  const std::vector<std::string> base = {"-p", "Tell me a story about a fox.", "-n", "40"};
  const std::string whole = generate_json(base)["text"];
  const std::string late = whole.substr(20, 4), early = whole.substr(8, 4);
  auto both = base;
  both.insert(both.end(), {"--stop", early, "--stop", late});
  EXPECT_EQ(generate_json(both)["text"], whole.substr(0, whole.find(early)));
  expect_generate_error({"-p", "x", "--stop", "X", "stray"}, "stray");
  expect_generate_error({"-p", "x", "--stop", ""}, "--stop");
}

TEST(Usage, NumbersOutOfRange) {
  expect_generate_error({"-p", "x", "--temp", "nan"}, "--temp");
  expect_generate_error({"-p", "x", "--temp", "inf"}, "--temp");
  expect_generate_error({"-p", "x", "--top-p", "0"}, "--top-p");
  expect_generate_error({"-p", "x", "--top-p", "nan"}, "--top-p");
  expect_generate_error({"-p", "x", "--min-p", "nan"}, "--min-p");
  expect_generate_error({"-p", "x", "--seed", "-2"}, "--seed");
  expect_generate_error({"-p", "x", "--seed", "1.5"}, "--seed");
  expect_generate_error({"-p", "x", "--max-kv-size", "4097"}, "--max-kv-size");
  expect_usage_error({"info", "-m", kModel, "--fit", "-c", "4097"}, "--max-kv-size");
}

TEST(Usage, PromptIdsOutsideTheVocabulary) {
  expect_generate_error({"--prompt-tokens", "2,4096"}, "--prompt-tokens: found 4096");
  expect_generate_error({"--prompt-tokens", "2,-1"}, "--prompt-tokens: found -1");
  expect_generate_error({"--prompt-tokens", "2,x"}, "--prompt-tokens");
  expect_generate_error({"--prompt-tokens", ""}, "--prompt-tokens");
  expect_generate_error({"--prompt-tokens", "2,3", "stray"}, "stray");
}

TEST(Usage, StrayArgumentsAreNamed) {
  expect_generate_error({"-p", "x", "stray"}, "stray");
  expect_usage_error({"bench", "-m", kModel, "-p", "8", "stray"}, "stray");
  expect_usage_error({"completion", "bash", "zsh"}, "zsh");
}

TEST(Usage, SeedMinusOneIsRandom) {
  const auto seed = [] {
    return generate_json({"-p", "x", "-n", "1", "--seed", "7", "--seed", "-1"})["seed"]
        .get<uint64_t>();
  };
  EXPECT_NE(seed(), seed());
  EXPECT_EQ(generate_json({"-p", "x", "-n", "1", "-s", "18446744073709551615"})["seed"],
            18446744073709551615u);
}

TEST(Usage, FlagsWithoutEffectAreReported) {
  const ProcessResult logprobs = generate({"-p", "x", "-n", "1", "--logprobs", "2"});
  EXPECT_EQ(logprobs.exit_code, 0);
  EXPECT_TRUE(contains(logprobs.err, "--logprobs has no effect")) << logprobs.err;
  const ProcessResult raw = generate({"-p", "x", "-n", "1", "--raw", "--system-prompt", "y"});
  EXPECT_EQ(raw.exit_code, 0);
  EXPECT_TRUE(contains(raw.err, "--system-prompt has no effect")) << raw.err;
}

// The help shows the variable of each flag behind its type.
TEST(Usage, EveryFlagHasAVariableOfItsFirstLongName) {
  for (const char* command :
       {"generate", "chat", "bench", "perplexity", "kv-report", "quantize", "info", "doctor"}) {
    const std::string help = mlxn({command, "--help"}).out;
    size_t flags = 0;
    for (size_t at = 0; (at = help.find("\n  -", at)) != std::string::npos; ++at) {
      const std::string entry = help.substr(at + 1, help.find("\n  -", at + 1) - at - 1);
      const size_t begin = entry.find("--") + 2;
      const std::string name = entry.substr(begin, entry.find_first_of(", \n", begin) - begin);
      if (name == "help") continue;
      std::string variable;
      for (char c : name) {
        variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      }
      std::string prefix = command;
      for (char& c : prefix) {
        c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      }
      EXPECT_TRUE(contains(entry, "(Env:MLXN_" + variable + ")") ||
                  contains(entry, "(Env:MLXN_" + prefix + "_" + variable + ")"))
          << command << "\n"
          << entry;
      ++flags;
    }
    EXPECT_GE(flags, 4u) << help;
  }
}

TEST(Usage, VariablesOfOneCommand) {
  const ProcessResult result =
      mlxn({"bench", "-m", kModel, "-q"},
           {.environment = {"MLXN_BENCH_N_PROMPT=4,8", "MLXN_BENCH_N_GEN=0",
                            "MLXN_BENCH_REPETITIONS=1", "MLXN_BENCH_OUTPUT=json"}});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json rows = json::parse(result.out);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1]["n_prompt"], 8);
}

TEST(Usage, BenchLengths) {
  expect_usage_error({"bench", "-m", kModel, "-p", "0", "-n", "0"}, "--n-prompt, --n-gen");
  expect_usage_error({"bench", "-m", kModel, "-p", "4097", "-n", "0"}, "--n-prompt");
  expect_usage_error({"bench", "-m", kModel, "-p", "0", "-n", "4097"}, "--n-gen");
  expect_usage_error({"bench", "-m", kModel, "-p", "8", "-n", "0", "-d", "4090"}, "--n-depth");
  expect_usage_error({"bench", "-m", kModel, "-p", "80", "-n", "0", "-c", "64"}, "--max-kv-size");
}

TEST(Usage, BenchRefusesWhatCannotFitInMemory) {
  std::ifstream source(kModel + "/config.json");
  json config = json::parse(source);
  config["vocab_size"] = 1 << 24;
  config["hidden_size"] = 1 << 16;
  if (config.contains("text_config")) {
    config["text_config"]["vocab_size"] = 1 << 24;
    config["text_config"]["hidden_size"] = 1 << 16;
  }
  const std::string path = ::testing::TempDir() + "mlxn_cli_giant.json";
  std::ofstream(path) << config;
  const ProcessResult result =
      mlxn({"bench", "--random-weights", "--config", path, "-p", "8", "-n", "0", "-r", "1", "-q"});
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_TRUE(contains(result.err, " bytes free of ")) << result.err;
  std::remove(path.c_str());
}

}  // namespace
}  // namespace mlxn::testing
