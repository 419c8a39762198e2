// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "command.h"

namespace mlxn::testing {
namespace {

const std::string kLicense = std::string(MLXN_SOURCE_DIR) + "/LICENSE";

ProcessResult perplexity(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"perplexity", "--model", kModel};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return mlxn(arguments);
}

TEST(Perplexity, OneLineOnStdoutTheRestOnStderr) {
  const ProcessResult result = perplexity({"--file", kLicense, "-c", "128"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  double value = 0.0, error = 0.0;
  long tokens = 0, context = 0;
  ASSERT_EQ(std::sscanf(result.out.c_str(), "Perplexity: %lf +/- %lf (%ld tokens, windows of %ld)",
                        &value, &error, &tokens, &context),
            4)
      << result.out;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1);
  EXPECT_GT(value, 1.0);
  EXPECT_GT(error, 0.0);
  EXPECT_LT(error, value);
  EXPECT_EQ(context, 128);
  EXPECT_EQ(tokens % 63, 0);  // tokens 65 to 127 of each window
  for (const char* word : {"Loading", "Scoring", "tokens/s", "Peak memory:"}) {
    EXPECT_TRUE(contains(result.err, word)) << word;
  }
  const ProcessResult quiet = perplexity({"--file", kLicense, "-c", "128", "-q", "--threads", "1"});
  EXPECT_EQ(quiet.out, result.out);
  EXPECT_EQ(quiet.err, "");
}

TEST(Perplexity, Json) {
  const ProcessResult result =
      perplexity({"--file", kLicense, "-c", "64", "--stride", "48", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json found = json::parse(result.out);
  EXPECT_NEAR(std::exp(found["mean_nll"].get<double>()), found["perplexity"].get<double>(), 1e-6);
  EXPECT_GT(found["stderr"], 0.0);
  EXPECT_EQ(found["tokens"], 48 * found["windows"].get<int64_t>());
  EXPECT_EQ(found["context"], 64);
  EXPECT_EQ(found["stride"], 48);
}

TEST(Perplexity, SaysWhatItCannotScore) {
  const auto message = [](const std::vector<std::string>& more) {
    const ProcessResult result = perplexity(more);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_TRUE(contains(message({"--file", "/nonexistent/text"}), "--file: /nonexistent/text"));
  EXPECT_TRUE(contains(message({"--file", MLXN_SOURCE_DIR}), "directory"));
  EXPECT_TRUE(contains(message({"--file", kLicense, "-c", "4097"}), "at most 4096"));
  EXPECT_TRUE(contains(message({"--file", kLicense, "-c", "7"}), "--context"));
  EXPECT_TRUE(
      contains(message({"--file", kLicense, "-c", "64", "--stride", "64"}), "required below 64"));
  const std::string path = ::testing::TempDir() + "mlxn_cli_short.txt";
  std::ofstream(path) << "Once upon a time.";
  EXPECT_TRUE(contains(message({"--file", path}), path + ": found 6 tokens, required at least 512"))
      << message({"--file", path});
  std::remove(path.c_str());
  EXPECT_TRUE(contains(message({}), "--file"));
}

}  // namespace
}  // namespace mlxn::testing
