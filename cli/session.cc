// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "exit_codes.h"
#include "machine.h"

namespace mlxn::cli {
namespace {

// Weights are mapped from the file and can be dropped again; everything else must fit.
void require_memory(const ModelMemory& memory) {
  const uint64_t available = available_memory_bytes();
  const uint64_t needed = memory.prepared + memory.caches + memory.scratch;
  if (available == 0 || needed <= available) return;
  throw Error(
      ErrorKind::kBufferAllocation,
      ErrorDetail{"model", "memory", human_bytes(static_cast<double>(available)) + " available",
                  human_bytes(static_cast<double>(needed)) +
                      " beside the weights; a smaller --max-kv-size needs less"});
}

}  // namespace

Session load_session(const Terminal& terminal, const DeviceFlags& device_flags,
                     const ModelFlags& model_flags) {
  const auto start = std::chrono::steady_clock::now();
  const Device device = device_flags.open();
  Checkpoint checkpoint = Checkpoint::open(model_flags.path());
  ModelOptions options = model_flags.options();
  require_memory(estimate_memory(device, checkpoint, options));
  Tokenizer tokenizer = load_tokenizer(checkpoint);
  ProgressBar bar(terminal, "Loading");
  options.progress = [&bar](double fraction) { bar.update(fraction); };
  Model model = Model::load(device, checkpoint, options);
  bar.finish();
  for (const std::string& warning : model.warnings()) terminal.info("warning: " + warning);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Generator generator(std::move(model), tokenizer);
  return {std::move(checkpoint), std::move(tokenizer), std::move(generator), seconds};
}

void print_stats(const Terminal& terminal, const GenerateStats& stats) {
  terminal.info(
      fmt::format("Prompt: {} tokens, {:.1f} tokens/s", stats.prompt_tokens, stats.prompt_rate()));
  terminal.info(fmt::format("Generation: {} tokens, {:.1f} tokens/s", stats.generated_tokens,
                            stats.generation_rate()));
  terminal.info("Peak memory: " + human_bytes(static_cast<double>(peak_memory_bytes())));
}

int exit_code_of(FinishReason reason) {
  if (reason == FinishReason::kContextFull) return kContextFull;
  if (reason == FinishReason::kCancelled) return kInterrupted;
  return kOk;
}

}  // namespace mlxn::cli
