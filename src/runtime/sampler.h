// SPDX-License-Identifier: Apache-2.0
// Draws tokens from the model's logits and hands back their log-probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mlxn/generator.h"
#include "models/model_impl.h"

namespace mlxn::runtime {

struct Draw {
  int32_t id = 0;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top_logprobs;
};

class Sampler {
 public:
  // tokenizer_size: ids from there on have no token and are never drawn.
  Sampler(ModelImpl& model, const GenerateOptions& options, int64_t tokenizer_size);

  // The tokens of a sequence so far, for penalties; `row` of the batch.
  void start(int64_t row, std::span<const int32_t> prompt);

  // Queues drawing for rows [first_row, first_row + count) from logits [count, V]. sequences[i]
  // keys the draws of row first_row + i. The tokens land in the step state.
  void queue(const Buffer& logits, int64_t first_row, std::span<const uint32_t> sequences);
  // After the stream has run: what was drawn. Adds the tokens to the history, but not where
  // `ignored` is set.
  std::vector<Draw> take(const std::vector<bool>& ignored = {});

 private:
  bool uses_history() const;
  void append(int64_t row, int32_t id);
  void write_history(int64_t row, int64_t at, std::span<const int32_t> ids);

  ModelImpl& model_;
  ops::SamplingParams params_;
  int64_t num_top_ = 0;
  bool wants_logprobs_ = false;

  Buffer suppress_;               // i32 [n], may be empty
  Buffer history_;                // i32 [B, max_context + 1], only with penalties
  Buffer logprobs_;               // f32 [B]
  Buffer sequence_ids_;           // u32 [B]
  Buffer top_ids_;                // u32 [B, num_top]
  Buffer top_values_;             // f32 [B, num_top]
  std::vector<int64_t> lengths_;  // tokens per row, prompt and drawn ones

  Buffer queued_logits_, queued_tokens_;  // of the rows queued last
  std::vector<int32_t> drawn_;            // their tokens
  int64_t first_row_ = 0;
  int64_t count_ = 0;
};

}  // namespace mlxn::runtime
