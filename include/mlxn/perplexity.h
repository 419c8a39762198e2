// SPDX-License-Identifier: Apache-2.0
// Perplexity: how well a model predicts a text, as one number that compares weight formats.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "mlxn/export.h"
#include "mlxn/model.h"

namespace mlxn {

struct PerplexityOptions {
  int64_t context = 512;  // N, tokens of a window; at least 8, at most the model's max_context
  // 0: windows follow each other, and of each the second half is scored, tokens N/2 + 1 .. N - 1,
  // as llama.cpp does. 1 .. N - 1: a window begins every `stride` tokens, and of each the last
  // `stride` tokens are scored, so that a token has at least N - stride tokens before it.
  int64_t stride = 0;
  // Takes the place of the first token of each window, which is never scored: the tokenizer's BOS
  // if it adds one.
  std::optional<int32_t> bos = {};
  // After each window. False stops; what is scored so far is returned.
  std::function<bool(int64_t windows_done, int64_t windows)> progress = {};
};

struct Perplexity {
  double perplexity = 0.0;      // exp(mean_nll)
  double standard_error = 0.0;  // perplexity * s / sqrt(n)
  double mean_nll = 0.0;        // nats a token
  int64_t tokens = 0;           // n, tokens scored
  int64_t windows = 0;          // done
};

// The windows that fit whole into `tokens` tokens. Throws kInvalidArgument for a context or stride
// outside its range and for fewer tokens than a window has.
MLXN_API int64_t perplexity_windows(int64_t tokens, const PerplexityOptions& options);

// With nll = -log softmax(logits)[next token] of every scored token, in double over the f32 logits
// (after the soft cap):
//   perplexity = exp(mean(nll))
//   standard_error = perplexity * s / sqrt(n), s^2 = sum((nll - mean)^2) / (n - 1)
// The error treats tokens as independent draws, and is NaN for one token. Logits that are not
// finite make NaN of both. Tokens behind the last whole window are not used. Same bits for any
// number of threads.
//
// Resets the model and uses its first sequence. At most 64 rows of logits are held at a time.
// Throws as perplexity_windows, and kInvalidArgument for a context above the model's max_context
// or an id outside the vocabulary.
MLXN_API Perplexity perplexity(Model& model, std::span<const int32_t> tokens,
                               const PerplexityOptions& options = {});

}  // namespace mlxn
