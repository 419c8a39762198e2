// SPDX-License-Identifier: Apache-2.0
// How a text is cut into windows and pieces, and what the model's answers are worth.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mlxn/perplexity.h"

namespace mlxn::runtime {

// Tokens from window to window.
int64_t step_of(const PerplexityOptions& options);

// Window `index` of a text, its first token replaced by BOS if there is one.
std::vector<int32_t> window_of(std::span<const int32_t> tokens, const PerplexityOptions& options,
                               int64_t index);

// Tokens [begin, end) of a window, which a model runs together. Those from `scored` on are
// followed by a token that counts; none if scored is end.
struct Piece {
  int64_t begin, end, scored;
};

// Pieces of one window. The last token is predicted, not run.
std::vector<Piece> pieces_of(const PerplexityOptions& options);

// Throws kInvalidArgument for an id outside the vocabulary.
void check_tokens(const char* where, std::span<const int32_t> tokens, int64_t vocab_size);

// -log softmax(logits)[target]
double negative_log_likelihood(std::span<const float> logits, int32_t target);

struct MeanAndError {
  double mean = 0.0;
  double error = 0.0;  // standard error of the mean; NaN for one value
};
MeanAndError mean_of(std::span<const double> values);

Perplexity summarize(std::span<const double> nll, int64_t windows);

}  // namespace mlxn::runtime
