// SPDX-License-Identifier: Apache-2.0
// A model that is loaded and ready to generate.
#pragma once

#include <functional>
#include <string>

#include "flags.h"
#include "mlxn/generator.h"

namespace mlxn::cli {

struct Session {
  Checkpoint checkpoint;
  Tokenizer tokenizer;
  Generator generator;
  double load_seconds;
};

// check_memory; but if only repacked copies of the weights do not fit, options.prepare is switched
// off and the terminal told.
void require_memory(const Terminal& terminal, const Device& device, const ModelMemory& memory,
                    ModelOptions& options);

// Loads with a progress bar and passes on what the checkpoint has of oddities.
Model load_model(const Terminal& terminal, const Device& device, const Checkpoint& checkpoint,
                 ModelOptions options);

// Opens the files, refuses what cannot fit in memory, loads with a progress bar. `check` sees the
// configuration before the weights are loaded and throws to refuse it.
Session load_session(const Terminal& terminal, const DeviceFlags& device, const ModelFlags& model,
                     const std::function<void(const ModelConfig&)>& check = {});

// --context for the windows of a text: 512 tokens unless it was given, or what the model was
// trained for if that is less.
int64_t context_of(int64_t flag, const ModelConfig& config);

// "3400.1", or "-" for a rate that was not measured.
std::string rate_text(double tokens_per_second);

// "Prompt: 12 tokens (8 cached), 3400.1 tokens/s", "Generation: ...", "Peak memory: ..." on stderr.
void print_stats(const Terminal& terminal, const GenerateStats& stats);

// The process's exit code for how a reply ended.
int exit_code_of(FinishReason reason);

}  // namespace mlxn::cli
