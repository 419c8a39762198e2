// SPDX-License-Identifier: Apache-2.0
// Calls of the mlxn command with the demo model.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "process.h"

namespace mlxn::testing {

using nlohmann::json;

inline const std::string kModel = std::string(MLXN_SOURCE_DIR) + "/demo/model-mlx-4bit";
inline const std::string kGguf = std::string(MLXN_SOURCE_DIR) + "/demo/model-q4_0.gguf";

inline ProcessResult mlxn(std::vector<std::string> arguments, const ProcessInput& input = {}) {
  arguments.insert(arguments.begin(), MLXN_COMMAND);
  return run_process(arguments, input);
}

// mlxn with its streams bent by the shell: `behind` is "2>&-" or "| true" after the arguments. The
// exit code is that of mlxn.
inline ProcessResult mlxn_in_shell(const std::vector<std::string>& arguments,
                                   const std::string& behind, const ProcessInput& input = {}) {
  std::vector<std::string> command = {
      "/bin/bash", "-c", "\"$0\" \"$@\" " + behind + "; exit \"${PIPESTATUS[0]}\"", MLXN_COMMAND};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_process(command, input);
}

inline ProcessResult generate(const std::vector<std::string>& more,
                              const ProcessInput& input = {}) {
  std::vector<std::string> arguments = {"generate", "--model", kModel, "--temp", "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return mlxn(arguments, input);
}

inline json generate_json(std::vector<std::string> more, const ProcessInput& input = {}) {
  more.push_back("--json");
  const ProcessResult result = generate(more, input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out);
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace mlxn::testing
