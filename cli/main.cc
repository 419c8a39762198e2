// SPDX-License-Identifier: Apache-2.0
// The mlxn command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>
#include <vector>

#include "commands.h"
#include "exit_codes.h"
#include "flags.h"
#include "interrupt.h"
#include "mlxn/error.h"
#include "mlxn/version.h"
#include "output.h"
#include "terminal.h"

namespace mlxn::cli {
namespace {

constexpr const char* kFooter =
    "Every flag can also be set by a variable named after its first long name: --max-tokens by\n"
    "MLXN_MAX_TOKENS. Flags that only bench, perplexity, kv-report, quantize, info or doctor has\n"
    "carry its name: bench --n-prompt by MLXN_BENCH_N_PROMPT. The command line wins. Of a "
    "repeated\n"
    "flag the last one counts; --stop, --prompt-tokens, --keep, --types and the lengths of bench\n"
    "add up.\n"
    "Text goes to stdout, everything else to stderr.\n"
    "Exit codes: 0 done, 1 error (without a message: the reader of stdout went away),\n"
    "2 bad usage, 3 bad or missing model file, 4 out of memory, 5 context full,\n"
    "130 interrupted, 143 terminated.";

// Numbers that the user gave and only the library could judge.
bool is_about_flags(const Error& error) {
  if (error.kind() != ErrorKind::kInvalidArgument) return false;
  for (const char* where : {"ModelOptions", "Generator::run", "perplexity", "kv_report", "quantize",
                            "sample", "Device::open"}) {
    if (error.detail().where == where) return true;
  }
  return false;
}

int exit_code_of(const Error& error) {
  if (is_about_flags(error)) return kUsage;
  switch (error.kind()) {
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

// What is left of stdout goes out now. The code of the command, or kFailed if the text is lost.
int finish_stdout(const Terminal& terminal, int code) {
  flush_stdout();
  if (!stdout_broken()) return code;
  if (stdout_errno() != EPIPE) {
    terminal.error(std::string("stdout: ") + std::strerror(stdout_errno()));
  }
  return kFailed;
}

int run_command(const std::vector<Command>& commands, const Terminal& terminal) {
  try {
    for (const Command& command : commands) {
      if (command.app->parsed()) return command.run();
    }
  } catch (const Error& error) {
    terminal.error(error.what());
    return exit_code_of(error);
  } catch (const UsageError& error) {
    terminal.error(error.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    terminal.error("out of memory");
    return kOutOfMemory;
  } catch (const std::exception& error) {
    terminal.error(error.what());
    return kFailed;
  }
  return kUsage;
}

// What is wrong with the arguments, and where to read on.
std::string usage_text(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> used = app.get_subcommands();
  if (!used.empty()) return fmt::format("{} (mlxn {} --help)", error.what(), used[0]->get_name());
  const std::vector<std::string> unknown = app.remaining();
  if (unknown.empty()) return fmt::format("{} (mlxn --help)", error.what());
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  return fmt::format("{}: found no such command, required one of: {}", unknown[0], names);
}

int main_checked(int argc, char** argv) {
  occupy_standard_streams();
  catch_interrupts();
  const Terminal terminal(ColorMode::kAuto, false);
  CLI::App app("Text from model files in MLX and GGUF format.", "mlxn");
  app.set_version_flag("--version", "mlxn " + std::string(version()));
  app.require_subcommand(1);
  app.footer(kFooter);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const std::vector<Command> commands = {
      add_generate(app), add_chat(app), add_bench(app),  add_perplexity(app), add_kv_report(app),
      add_quantize(app), add_info(app), add_doctor(app), add_completion(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    if (app.exit(error, out, err) != 0) {
      terminal.error(usage_text(app, error));
      return kUsage;
    }
    write_stdout(out.str());
    return finish_stdout(terminal, kOk);
  }
  return finish_stdout(terminal, run_command(commands, terminal));
}

}  // namespace
}  // namespace mlxn::cli

int main(int argc, char** argv) {
  try {
    return mlxn::cli::main_checked(argc, argv);
  } catch (const std::exception& error) {
    mlxn::cli::write_stderr(fmt::format("mlxn: {}\n", error.what()));
    return mlxn::cli::kFailed;
  }
}
