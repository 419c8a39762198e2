// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "command.h"

namespace mlxn::testing {
namespace {

const std::string kLicense = std::string(MLXN_SOURCE_DIR) + "/LICENSE";

ProcessResult kv_report(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"kv-report", "--model", kModel, "--file", kLicense};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return mlxn(arguments);
}

TEST(KvReport, ATableOnStdoutTheRestOnStderr) {
  const ProcessResult result =
      kv_report({"-c", "128", "--windows", "2", "--types", "f16,tq4", "--types", "tq8/tq4",
                 "--recall-items", "0", "--n-depth", "100"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 5) << result.out;
  for (const char* part : {"| cache ", "bytes/token", "| f16 ", "| tq4 ", "| tq8/tq4 ", " ± "}) {
    EXPECT_TRUE(contains(result.out, part)) << part << "\n" << result.out;
  }
  for (const char* part : {"Loading", "Measuring", "126 tokens scored", "Peak memory:"}) {
    EXPECT_TRUE(contains(result.err, part)) << part << "\n" << result.err;
  }
}

TEST(KvReport, JsonAgreesWithPerplexity) {
  const ProcessResult result = kv_report(
      {"-c", "64", "--types", "tq4", "--recall-items", "1", "--n-depth", "0", "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json row = json::parse(result.out).at(0);
  const json alone = json::parse(mlxn({"perplexity", "-m", kModel, "--file", kLicense, "-c", "64",
                                       "--kv-type", "tq4", "--json", "-q"})
                                     .out);
  EXPECT_EQ(row["perplexity"], alone["perplexity"]);
  EXPECT_EQ(row["stderr"], alone["stderr"]);
  EXPECT_EQ(row["tokens"], alone["tokens"]);
  EXPECT_GT(row["logit_change"], 0.0);
  EXPECT_EQ(row["recall_right"], 1);  // recall.json lies beside the demo model
  EXPECT_EQ(row["recall_items"], 1);
  EXPECT_EQ(row["bytes_per_token"], 4 * 2 * (128 + 4) + 2 * 2 * (256 + 8));
  EXPECT_EQ(row["generation_ts"], 0.0);
}

TEST(KvReport, Plot) {
  const std::filesystem::path folder = ::testing::TempDir() + "mlxn_kv_report";
  const std::string path = (folder / "link.svg").string();
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "plot.svg") << "an older plot";
  std::filesystem::remove(path);
  std::filesystem::create_symlink("plot.svg", path);
  const ProcessResult result = kv_report({"-c", "64", "--windows", "1", "--types", "f16,tq2",
                                          "--recall-items", "0", "--plot", path, "-q"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  std::stringstream svg;
  svg << std::ifstream(folder / "plot.svg").rdbuf();
  const auto files = std::filesystem::directory_iterator(folder);
  EXPECT_EQ(std::distance(begin(files), end(files)), 2) << "the plot, and the link to it";
  std::filesystem::remove_all(folder);
  for (const char* part : {"<svg", "</svg>\n", ">tq2<", ">f16<", "bytes per token", "<circle"}) {
    EXPECT_TRUE(contains(svg.str(), part)) << part << "\n" << svg.str();
  }
  EXPECT_FALSE(contains(svg.str(), "nan")) << svg.str();
}

// A plot that cannot be written leaves the older one, and nothing beside it.
TEST(KvReport, PlotsAreWholeOrNotThere) {
  const std::filesystem::path folder = ::testing::TempDir() + "mlxn_kv_report_full";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "plot.svg").string();
  std::ofstream(path) << "an older plot";
  const std::vector<std::string> arguments = {
      MLXN_COMMAND, "kv-report", "--model", kModel, "--file",         kLicense, "-c", "64",
      "--windows",  "1",         "--types", "f16",  "--recall-items", "0",      "-q", "--plot"};
  std::vector<std::string> limited = {"/bin/bash", "-c",
                                      "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""};
  limited.insert(limited.end(), arguments.begin(), arguments.end());
  limited.push_back(path);
  const ProcessResult full = run_process(limited);
  EXPECT_EQ(full.exit_code, 1) << full.err;
  EXPECT_TRUE(contains(full.err, path + ": File too large")) << full.err;
  std::stringstream left;
  left << std::ifstream(path).rdbuf();
  EXPECT_EQ(left.str(), "an older plot");
  const auto files = std::filesystem::directory_iterator(folder);
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
  std::filesystem::remove_all(folder);
  // Where stdout is, behind the table.
  std::vector<std::string> both = arguments;
  both.push_back("/dev/stdout");
  const ProcessResult shown = run_process(both);
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_LT(shown.out.find("| f16"), shown.out.find("<svg")) << shown.out;
  EXPECT_TRUE(contains(shown.out, "</svg>"));
}

TEST(KvReport, SaysWhatItCannotMeasure) {
  const auto message = [](const std::vector<std::string>& more) {
    const ProcessResult result = kv_report(more);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  EXPECT_TRUE(contains(message({"--types", "f16,tq7"}), "found tq7, required f32, f16"));
  EXPECT_TRUE(contains(message({"--types", "f16/tq4"}), "--types"));
  EXPECT_TRUE(contains(message({"--baseline", "none"}), "--baseline"));
  EXPECT_TRUE(contains(message({"-c", "4097"}), "at most 4096"));
  EXPECT_TRUE(contains(message({"--n-depth", "4096"}), "--n-depth: found 4096"));
  EXPECT_TRUE(contains(message({"--file", "/nonexistent"}), "--file: /nonexistent"));
  EXPECT_TRUE(contains(message({"--recall", "/nonexistent"}), "--recall: /nonexistent"));
  EXPECT_TRUE(contains(message({"--recall", kLicense}), "--recall: " + kLicense));
  const ProcessResult no_folder = kv_report({"--plot", "/nonexistent/x.svg"});
  EXPECT_EQ(no_folder.exit_code, 1);
  EXPECT_TRUE(contains(no_folder.err, "--plot: /nonexistent/x.svg")) << no_folder.err;
}

}  // namespace
}  // namespace mlxn::testing
