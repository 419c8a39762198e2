// SPDX-License-Identifier: Apache-2.0
// Every command adds itself to the application and says what to run. The function returns the exit
// code; errors leave it as exceptions.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace mlxn::cli {

using Run = std::function<int()>;

struct Command {
  CLI::App* app;
  Run run;
};

Command add_generate(CLI::App& app);
Command add_chat(CLI::App& app);
Command add_bench(CLI::App& app);
Command add_quantize(CLI::App& app);
Command add_perplexity(CLI::App& app);
Command add_kv_report(CLI::App& app);
Command add_info(CLI::App& app);
Command add_doctor(CLI::App& app);
Command add_completion(CLI::App& app);

}  // namespace mlxn::cli
