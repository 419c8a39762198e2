// SPDX-License-Identifier: Apache-2.0
// The mlxn command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <vector>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "mlxn/error.h"
#include "mlxn/version.h"
#include "terminal.h"

namespace mlxn::cli {
namespace {

constexpr const char* kFooter =
    "Every flag can also be set by a variable: --max-tokens by MLXN_MAX_TOKENS.\n"
    "Text goes to stdout, everything else to stderr.\n"
    "Exit codes: 0 done, 1 error, 2 bad usage, 3 bad or missing model file, 4 out of memory,\n"
    "5 context full, 130 interrupted.";

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kIo:
    case ErrorKind::kSafetensors:
    case ErrorKind::kGguf:
    case ErrorKind::kQuantConfig:
    case ErrorKind::kConfig:
    case ErrorKind::kUnsupportedDtype:
    case ErrorKind::kTokenizer:
    case ErrorKind::kTemplate:
      return kBadModel;
    case ErrorKind::kBufferAllocation:
      return kOutOfMemory;
    case ErrorKind::kContextFull:
      return kContextFull;
    case ErrorKind::kDeviceNotFound:
      return kUsage;
    default:
      return kFailed;
  }
}

int run_command(const std::vector<Command>& commands) {
  const Terminal terminal(ColorMode::kAuto, false);
  try {
    for (const Command& command : commands) {
      if (command.app->parsed()) return command.run();
    }
  } catch (const Error& error) {
    terminal.error(error.what());
    return exit_code_of(error.kind());
  } catch (const std::bad_alloc&) {
    terminal.error("out of memory");
    return kOutOfMemory;
  } catch (const std::exception& error) {
    terminal.error(error.what());
    return kFailed;
  }
  return kUsage;
}

int main_checked(int argc, char** argv) {
  CLI::App app("Text from model files in MLX and GGUF format.", "mlxn");
  app.set_version_flag("--version", "mlxn " + std::string(version()));
  app.require_subcommand(1);
  app.footer(kFooter);
  const std::vector<Command> commands = {add_generate(app), add_chat(app),   add_bench(app),
                                         add_info(app),     add_doctor(app), add_completion(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  catch_interrupts();
  return run_command(commands);
}

}  // namespace
}  // namespace mlxn::cli

int main(int argc, char** argv) {
  try {
    return mlxn::cli::main_checked(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "mlxn: {}\n", error.what());
    return mlxn::cli::kFailed;
  }
}
