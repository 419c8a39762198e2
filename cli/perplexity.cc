// SPDX-License-Identifier: Apache-2.0
// mlxn perplexity: how well a model predicts a text file.
#include "mlxn/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"
#include "output.h"
#include "session.h"

namespace mlxn::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter =
    "The text is cut into windows of --context tokens; each begins with BOS if the tokenizer adds\n"
    "it, in place of its first token. Scored is the second half of each window, as llama.cpp\n"
    "does; with --stride S a window begins every S tokens and its last S tokens are scored.\n"
    "Tokens behind the last whole window are not used. With nll = -ln p(token | those before it):\n"
    "  perplexity = exp(mean(nll)), standard error = perplexity * stddev(nll) / sqrt(tokens),\n"
    "as if tokens were independent of each other.";

struct PerplexityFlags {
  CommonFlags common;
  DeviceFlags device;
  ModelFlags model;
  std::string file;
  int64_t context = 0;
  int64_t stride = 0;
  bool json = false;
};

// Refuses flags and a text that do not go together, before the weights are loaded.
void check(const PerplexityFlags& flags, const PerplexityOptions& options, size_t tokens) {
  if (options.stride >= options.context) {
    throw UsageError(fmt::format("--stride: found {}, required below {}, the --context",
                                 options.stride, options.context));
  }
  if (static_cast<int64_t>(tokens) < options.context) {
    throw UsageError(fmt::format("--file: {}: found {} tokens, required at least {}, the --context",
                                 flags.file, tokens, options.context));
  }
}

Perplexity measure(Model& model, std::span<const int32_t> tokens, PerplexityOptions options,
                   const Terminal& terminal) {
  ProgressBar bar(terminal, "Scoring");
  options.progress = [&bar](int64_t done, int64_t windows) {
    bar.update(static_cast<double>(done) / static_cast<double>(windows));
    return !interrupted() && !stdout_broken();
  };
  const Perplexity result = perplexity(model, tokens, options);
  bar.finish();
  return result;
}

Json result_json(const PerplexityFlags& flags, const Perplexity& result,
                 const PerplexityOptions& options, const Model& model, double seconds) {
  return {{"model", flags.model.model},
          {"format", model.config().quantization.description},
          {"model_size", model.weight_bytes()},
          {"kv_type", flags.model.kv_types()},
          {"file", flags.file},
          {"perplexity", result.perplexity},
          {"stderr", result.standard_error},
          {"mean_nll", result.mean_nll},
          {"tokens", result.tokens},
          {"windows", result.windows},
          {"context", options.context},
          {"stride", options.stride},
          {"seconds", seconds},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

int run(const PerplexityFlags& flags) {
  const Terminal terminal = flags.common.terminal();
  const std::string text = read_file("--file", flags.file);
  const Device device = flags.device.open();
  const Checkpoint checkpoint = Checkpoint::open(flags.model.path());
  ModelOptions model_options = flags.model.options(checkpoint.config());
  PerplexityOptions options;
  options.context = context_of(flags.context, checkpoint.config());
  options.stride = flags.stride;
  model_options.max_context = options.context;
  const Tokenizer tokenizer = load_tokenizer(checkpoint);
  const std::vector<int32_t> tokens =
      tokenizer.encode(text, {.add_special = true, .parse_special = false});
  if (tokenizer.adds_bos()) options.bos = tokenizer.bos_id();
  check(flags, options, tokens.size());
  require_memory(terminal, device, estimate_memory(device, checkpoint, model_options),
                 model_options);
  Model model = load_model(terminal, device, checkpoint, model_options);

  const auto start = std::chrono::steady_clock::now();
  const Perplexity result = measure(model, tokens, options, terminal);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (flags.json) {
    print("{}\n", result_json(flags, result, options, model, seconds)
                      .dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print("Perplexity: {:.4f} +/- {:.4f} ({} tokens, windows of {})\n", result.perplexity,
          result.standard_error, result.tokens, options.context);
  }
  const auto run_tokens = static_cast<double>(result.windows * (options.context - 1));
  terminal.info(fmt::format("Speed: {} tokens/s; {} windows in {:.1f} s",
                            rate_text(run_tokens / seconds), result.windows, seconds));
  terminal.info("Peak memory: " + human_bytes(static_cast<double>(peak_memory_bytes())));
  return interrupted() ? interrupt_exit_code() : kOk;
}

}  // namespace

Command add_perplexity(CLI::App& app) {
  auto flags = std::make_shared<PerplexityFlags>();
  CLI::App* command =
      app.add_subcommand("perplexity", "Measure how well a model predicts a text file");
  command->footer(kFooter);
  flags->model.add_file_to(*command, true);
  with_environment(command->add_option("-f,--file", flags->file, "Text file to score"),
                   "PERPLEXITY_FILE")
      ->required();
  with_environment(command->add_option("-c,--context", flags->context,
                                       "Tokens of a window; 0: 512, or what the model was trained "
                                       "for if that is less"),
                   "PERPLEXITY_CONTEXT")
      ->check(CLI::Range(int64_t{8}, int64_t{1} << 24) | CLI::IsMember({int64_t{0}}));
  with_environment(command->add_option("--stride", flags->stride,
                                       "Tokens from window to window, of which the last are "
                                       "scored; 0: whole windows, the second half scored"),
                   "PERPLEXITY_STRIDE")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  with_environment(command->add_flag("--json", flags->json, "Print one JSON object"),
                   "PERPLEXITY_JSON");
  flags->device.add_to(*command);
  flags->common.add_to(*command);
  return {command, [flags] { return run(*flags); }};
}

}  // namespace mlxn::cli
