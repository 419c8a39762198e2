// SPDX-License-Identifier: Apache-2.0
#include "mlxn/perplexity.h"

#include <string>
#include <vector>

#include "base/no_memory.h"
#include "runtime/scoring.h"

namespace mlxn {
namespace {

constexpr int64_t kMinContext = 8;

[[noreturn]] void reject(const char* parameter, int64_t found, const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"perplexity", parameter, std::to_string(found), required});
}

// Appends the nll of the scored tokens of a window.
void score_window(Model& model, std::span<const int32_t> window,
                  const std::vector<runtime::Piece>& pieces, std::vector<double>& nll) {
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  model.reset();
  for (const runtime::Piece& piece : pieces) {
    const auto tokens = window.subspan(static_cast<size_t>(piece.begin),
                                       static_cast<size_t>(piece.end - piece.begin));
    if (piece.scored == piece.end) {
      model.prefill(0, tokens);
      continue;
    }
    const std::vector<float> logits = model.prefill(0, tokens, true);
    for (int64_t row = piece.scored; row < piece.end; ++row) {
      nll.push_back(runtime::negative_log_likelihood(
          std::span(logits).subspan(static_cast<size_t>(row - piece.begin) * vocab, vocab),
          window[static_cast<size_t>(row) + 1]));
    }
  }
}

}  // namespace

int64_t perplexity_windows(int64_t tokens, const PerplexityOptions& options) {
  if (options.context < kMinContext) {
    reject("context", options.context, "at least " + std::to_string(kMinContext));
  }
  if (options.stride < 0 || options.stride >= options.context) {
    reject("stride", options.stride,
           "0 .. " + std::to_string(options.context - 1) + ", below the context");
  }
  if (tokens < options.context) {
    reject("tokens", tokens, "at least " + std::to_string(options.context) + ", one window");
  }
  return (tokens - options.context) / runtime::step_of(options) + 1;
}

Perplexity perplexity(Model& model, std::span<const int32_t> tokens,
                      const PerplexityOptions& options) try {
  const int64_t windows = perplexity_windows(static_cast<int64_t>(tokens.size()), options);
  if (options.context > model.options().max_context) {
    reject("context", options.context,
           "at most " + std::to_string(model.options().max_context) + ", the model's max_context");
  }
  runtime::check_tokens("perplexity", tokens, model.config().vocab_size);
  const std::vector<runtime::Piece> pieces = runtime::pieces_of(options);
  std::vector<double> nll;
  int64_t done = 0;
  while (done < windows) {
    score_window(model, runtime::window_of(tokens, options, done), pieces, nll);
    ++done;
    if (options.progress && !options.progress(done, windows)) break;
  }
  return runtime::summarize(nll, done);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
