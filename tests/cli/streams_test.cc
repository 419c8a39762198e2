// SPDX-License-Identifier: Apache-2.0
// Streams that are closed, full or without a reader, signals, and conversations.
#include <csignal>

#include "command.h"

namespace mlxn::testing {
namespace {

const std::vector<std::string> kShort = {"generate", "-m", kModel, "-p", "Hello", "-n", "4"};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++found;
  return found;
}

TEST(Streams, StderrMayBeClosedOrFull) {
  for (const char* bent : {"2>&-", "2>/dev/full"}) {
    const ProcessResult result = mlxn_in_shell(kShort, bent);
    EXPECT_EQ(result.exit_code, 0) << bent;
    EXPECT_GT(result.out.size(), 3u) << bent;
    EXPECT_EQ(mlxn_in_shell({"generate", "--frobnicate"}, bent).exit_code, 2) << bent;
    EXPECT_EQ(mlxn_in_shell({"info", "-m", "/nonexistent"}, bent).exit_code, 3) << bent;
  }
}

TEST(Streams, EveryCommandReportsAFullStdout) {
  const std::vector<std::vector<std::string>> commands = {
      kShort,
      {"bench", "-m", kModel, "-q", "-p", "2", "-n", "0", "-r", "1"},
      {"info", "-m", kModel},
      {"doctor"},
      {"doctor", "--json"},
      {"completion", "bash"},
      {"--help"},
      {"--version"}};
  for (const auto& command : commands) {
    const ProcessResult result = mlxn_in_shell(command, ">/dev/full");
    EXPECT_EQ(result.exit_code, 1) << command[0];
    EXPECT_TRUE(contains(result.err, "stdout: No space left on device")) << result.err;
  }
  const ProcessResult closed = mlxn_in_shell(kShort, ">&-");
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_TRUE(contains(closed.err, "stdout: Bad file descriptor")) << closed.err;
}

TEST(Streams, ReaderThatWentAwayIsNoMessage) {
  const ProcessResult result =
      mlxn_in_shell({"generate", "-m", kModel, "-p", "Hello", "-n", "3900", "--ignore-eos", "-q"},
                    "| head -c 1 >/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "");
}

TEST(Streams, UnreadableStdin) {
  for (const char* bent : {"<&-", "</"}) {
    const ProcessResult result = mlxn_in_shell({"generate", "-m", kModel, "-p", "-"}, bent);
    EXPECT_EQ(result.exit_code, 2) << bent;
    EXPECT_TRUE(contains(result.err, "--prompt -: stdin")) << result.err;
  }
}

TEST(Streams, ProfileThatCannotBeWritten) {
  const ProcessResult missing = generate({"-p", "x", "-n", "4", "--profile", "/nonexistent/x"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_TRUE(contains(missing.err, "/nonexistent/x: No such file")) << missing.err;
  EXPECT_FALSE(contains(missing.err, "Loading")) << missing.err;
  const ProcessResult full = generate({"-p", "x", "-n", "4", "--profile", "/dev/full"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_TRUE(contains(full.err, "/dev/full: No space left")) << full.err;
  EXPECT_TRUE(contains(full.err, "Generation:")) << full.err;
}

TEST(Streams, SigtermPrintsTheFiguresSoFar) {
  const ProcessResult result =
      generate({"-p", "Tell me a story.", "--ignore-eos", "--max-tokens", "3900"},
               {.interrupt_after = " ", .signal = SIGTERM});
  EXPECT_EQ(result.exit_code, 143) << result.err;
  EXPECT_TRUE(contains(result.err, "Generation:")) << result.err;
}

TEST(Streams, RatesThatWereNotMeasured) {
  const ProcessResult text = generate({"-p", "x", "-n", "1"});
  EXPECT_TRUE(contains(text.err, "Generation: 1 tokens, - tokens/s")) << text.err;
  EXPECT_TRUE(generate_json({"-p", "x", "-n", "1"})["generation_tokens_per_second"].is_null());
}

// `script` gives the command a terminal; without it there is no progress bar to look at.
TEST(Streams, ProgressBarWithoutEscapes) {
  if (run_process({"/usr/bin/env", "script", "--version"}).exit_code != 0) {
    GTEST_SKIP() << "no `script` on this machine";
  }
  const std::string command = std::string(MLXN_COMMAND) + " generate -m " + kModel + " -p x -n 2";
  const auto on_terminal = [&](const std::string& variable) {
    return run_process({"/usr/bin/env", variable, "script", "-qec", command, "/dev/null"}).out;
  };
  for (const char* variable : {"NO_COLOR=1", "TERM=dumb"}) {
    const std::string out = on_terminal(variable);
    EXPECT_TRUE(contains(out, "100%")) << out;
    EXPECT_FALSE(contains(out, "\x1b")) << out;
  }
  EXPECT_TRUE(contains(on_terminal("TERM=xterm"), "\x1b"));
}

TEST(Chat, GoesOnWhenTheContextIsFull) {
  const std::string lengthy =
      "Tell me about dogs and cats and birds and all the other animals in the wide world please";
  const ProcessResult result =
      mlxn({"chat", "-m", kModel, "--temp", "0", "-n", "20", "--max-kv-size", "48"},
           {.stdin_text = "Hello.\n" + lengthy + "\n/reset\nHello.\n"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "/reset starts afresh")) << result.err;
  EXPECT_EQ(count(result.err, "Generation:"), 2u) << result.err;
}

TEST(Chat, CommandsAndCachedTokens) {
  const ProcessResult result = mlxn({"chat", "-m", kModel, "--temp", "0", "-n", "12"},
                                    {.stdin_text = "/frob\n/help\nHello.\nHello.\n"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "unknown command /frob")) << result.err;
  EXPECT_EQ(count(result.err, "/help shows"), 3u) << result.err;  // greeting, /frob, /help
  EXPECT_EQ(count(result.err, "Generation:"), 2u) << result.err;
  EXPECT_TRUE(contains(result.err, " cached)")) << result.err;
}

TEST(Chat, EndsWhenStdoutIsFull) {
  const ProcessResult result = mlxn_in_shell({"chat", "-m", kModel, "-n", "4"}, ">/dev/full",
                                             {.stdin_text = "Hello.\nHello.\nHello.\n"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(count(result.err, "Generation:"), 1u) << result.err;
}

}  // namespace
}  // namespace mlxn::testing
