// SPDX-License-Identifier: Apache-2.0
// Runs a program and collects what it prints.
#pragma once

#include <csignal>
#include <string>
#include <vector>

namespace mlxn::testing {

struct ProcessResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string out;
  std::string err;
};

struct ProcessInput {
  std::string stdin_text = {};
  std::vector<std::string> environment = {};  // "NAME=value", added to this process's
  // Sends the signal once this text has appeared on stdout; empty: never.
  std::string interrupt_after = {};
  int signal = SIGINT;
};

ProcessResult run_process(const std::vector<std::string>& command, const ProcessInput& input = {});

}  // namespace mlxn::testing
