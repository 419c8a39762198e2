// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "exit_codes.h"
#include "interrupt.h"
#include "machine.h"

namespace mlxn::cli {

void require_memory(const Terminal& terminal, const Device& device, const ModelMemory& memory,
                    ModelOptions& options) {
  const uint64_t available = device.memory().free;
  const uint64_t needed = memory.needed();
  if (needed > available && needed - memory.prepared <= available) {
    options.prepare = false;
    terminal.info(fmt::format(
        "Weights run as stored, which is slower: {} of memory available, {} "
        "needed to repack them",
        human_bytes(static_cast<double>(available)), human_bytes(static_cast<double>(needed))));
    return;
  }
  check_memory(device, memory);
}

Model load_model(const Terminal& terminal, const Device& device, const Checkpoint& checkpoint,
                 ModelOptions options) {
  ProgressBar bar(terminal, "Loading");
  options.progress = [&bar](double fraction) { bar.update(fraction); };
  Model model = Model::load(device, checkpoint, std::move(options));
  bar.finish();
  for (const std::string& warning : model.warnings()) terminal.info("warning: " + warning);
  return model;
}

Session load_session(const Terminal& terminal, const DeviceFlags& device_flags,
                     const ModelFlags& model_flags,
                     const std::function<void(const ModelConfig&)>& check) {
  const auto start = std::chrono::steady_clock::now();
  const Device device = device_flags.open();
  Checkpoint checkpoint = Checkpoint::open(model_flags.path());
  ModelOptions options = model_flags.options(checkpoint.config());
  if (check) check(checkpoint.config());
  require_memory(terminal, device, estimate_memory(device, checkpoint, options), options);
  Tokenizer tokenizer = load_tokenizer(checkpoint);
  Model model = load_model(terminal, device, checkpoint, std::move(options));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Generator generator(std::move(model), tokenizer);
  return {std::move(checkpoint), std::move(tokenizer), std::move(generator), seconds};
}

int64_t context_of(int64_t flag, const ModelConfig& config) {
  constexpr int64_t kDefault = 512;
  const int64_t limit = config.max_position_embeddings;
  if (flag > limit) {
    throw UsageError(fmt::format(
        "--context: found {}, required at most {}, what the model was trained for", flag, limit));
  }
  return flag > 0 ? flag : std::min(kDefault, limit);
}

std::string rate_text(double tokens_per_second) {
  return tokens_per_second > 0.0 ? fmt::format("{:.1f}", tokens_per_second) : "-";
}

void print_stats(const Terminal& terminal, const GenerateStats& stats) {
  const std::string cached =
      stats.cached_tokens > 0 ? fmt::format(" ({} cached)", stats.cached_tokens) : "";
  terminal.info(fmt::format("Prompt: {} tokens{}, {} tokens/s", stats.prompt_tokens, cached,
                            rate_text(stats.prompt_rate())));
  terminal.info(fmt::format("Generation: {} tokens, {} tokens/s", stats.generated_tokens,
                            rate_text(stats.generation_rate())));
  terminal.info("Peak memory: " + human_bytes(static_cast<double>(peak_memory_bytes())));
}

int exit_code_of(FinishReason reason) {
  if (reason == FinishReason::kContextFull) return kContextFull;
  if (reason == FinishReason::kCancelled) return interrupt_exit_code();
  return kOk;
}

}  // namespace mlxn::cli
