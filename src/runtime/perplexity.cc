// SPDX-License-Identifier: Apache-2.0
#include "mlxn/perplexity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/no_memory.h"

namespace mlxn {
namespace {

constexpr int64_t kMinContext = 8;
// Logits come in pieces that end at multiples of this, where a cut costs no bit.
constexpr int64_t kPiece = 64;

[[noreturn]] void reject(const char* parameter, int64_t found, const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"perplexity", parameter, std::to_string(found), required});
}

int64_t step_of(const PerplexityOptions& options) {
  return options.stride > 0 ? options.stride : options.context;
}

// The first token of a window that is scored.
int64_t first_scored(const PerplexityOptions& options) {
  return options.stride > 0 ? options.context - options.stride : options.context / 2 + 1;
}

// -log softmax(logits)[target]
double negative_log_likelihood(std::span<const float> logits, int32_t target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return std::log(sum) - (static_cast<double>(logits[static_cast<size_t>(target)]) - largest);
}

// Appends the nll of tokens first .. N - 1 of a window. The last token is predicted, not run.
void score_window(Model& model, std::span<const int32_t> window, int64_t first,
                  std::vector<double>& nll) {
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  const int64_t rows = static_cast<int64_t>(window.size()) - 1;
  const auto part = [&](int64_t begin, int64_t end) {
    return window.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  };
  model.reset();
  int64_t done = (first - 1) / kPiece * kPiece;
  if (done > 0) model.prefill(0, part(0, done));
  while (done < rows) {
    const int64_t end = std::min(done + kPiece, rows);
    const std::vector<float> logits = model.prefill(0, part(done, end), true);
    for (int64_t row = std::max(done, first - 1); row < end; ++row) {
      nll.push_back(negative_log_likelihood(
          std::span(logits).subspan(static_cast<size_t>(row - done) * vocab, vocab),
          window[static_cast<size_t>(row) + 1]));
    }
    done = end;
  }
}

Perplexity summarize(const std::vector<double>& nll, int64_t windows) {
  Perplexity result;
  result.tokens = static_cast<int64_t>(nll.size());
  result.windows = windows;
  const auto count = static_cast<double>(nll.size());
  for (double value : nll) result.mean_nll += value;
  result.mean_nll /= count;
  double squares = 0.0;
  for (double value : nll) squares += (value - result.mean_nll) * (value - result.mean_nll);
  result.perplexity = std::exp(result.mean_nll);
  result.standard_error = nll.size() > 1
                              ? result.perplexity * std::sqrt(squares / (count - 1.0) / count)
                              : std::numeric_limits<double>::quiet_NaN();
  return result;
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
  return (tokens - options.context) / step_of(options) + 1;
}

Perplexity perplexity(Model& model, std::span<const int32_t> tokens,
                      const PerplexityOptions& options) try {
  const int64_t windows = perplexity_windows(static_cast<int64_t>(tokens.size()), options);
  if (options.context > model.options().max_context) {
    reject("context", options.context,
           "at most " + std::to_string(model.options().max_context) + ", the model's max_context");
  }
  const int64_t vocab = model.config().vocab_size;
  for (int32_t id : tokens) {
    if (id < 0 || id >= vocab) reject("token", id, "0 .. " + std::to_string(vocab - 1));
  }
  std::vector<double> nll;
  int64_t done = 0;
  while (done < windows) {
    const auto begin = tokens.begin() + done * step_of(options);
    std::vector<int32_t> window(begin, begin + options.context);
    if (options.bos) window[0] = *options.bos;
    score_window(model, window, first_scored(options), nll);
    ++done;
    if (options.progress && !options.progress(done, windows)) break;
  }
  return summarize(nll, done);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
