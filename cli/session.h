// SPDX-License-Identifier: Apache-2.0
// A model that is loaded and ready to generate.
#pragma once

#include "flags.h"
#include "mlxn/generator.h"

namespace mlxn::cli {

struct Session {
  Checkpoint checkpoint;
  Tokenizer tokenizer;
  Generator generator;
  double load_seconds;
};

// Opens the files, refuses what cannot fit in memory, loads with a progress bar.
Session load_session(const Terminal& terminal, const DeviceFlags& device, const ModelFlags& model);

// "Prompt: 12 tokens, 3400.1 tokens/s", "Generation: ...", "Peak memory: ..." on stderr.
void print_stats(const Terminal& terminal, const GenerateStats& stats);

// The process's exit code for how a reply ended.
int exit_code_of(FinishReason reason);

}  // namespace mlxn::cli
