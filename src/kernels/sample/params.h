// SPDX-License-Identifier: Apache-2.0
// What a sample kernel gets. Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"

namespace mlxn::kernels {

// How one sequence draws: ops::SamplingParams and the host values, as they lie in device memory.
struct SampleRule {
  uint64_t seed;
  int64_t position;     // used if SampleParams::positions is null
  int64_t history_len;  // used if SampleParams::history_lens is null
  float temperature;    // 0: argmax
  float top_p;          // 1: off
  float min_p;          // 0: off
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  int32_t top_k;           // <= 0: off
  int32_t penalty_window;  // < 0: all of the history
};

struct SampleParams {
  const float* logits;           // [sequences, vocab]
  const SampleRule* rules;       // [sequences]
  const int32_t* history;        // [sequences, max_history] or null
  const int32_t* history_lens;   // [sequences] or null
  const int32_t* positions;      // [sequences] or null
  const uint32_t* sequence_ids;  // [sequences] or null: 0, 1, 2, ...
  const int32_t* suppress;       // [num_suppress] or null
  int32_t* tokens;               // [sequences]
  float* logprobs;               // [sequences] or null
  int64_t sequences;
  int64_t vocab;
  int64_t max_history;
  int64_t num_suppress;
  bool edits_logits;  // something is suppressed, or a sequence has a penalty
  bool draws;         // a temperature is above 0
};

std::span<const Entry<SampleParams>> sample_entries();

}  // namespace mlxn::kernels
