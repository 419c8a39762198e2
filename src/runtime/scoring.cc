// SPDX-License-Identifier: Apache-2.0
#include "runtime/scoring.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace mlxn::runtime {
namespace {

// Logits come in pieces that end at multiples of this, where a cut costs no bit.
constexpr int64_t kPiece = 64;

// The first token of a window that is scored.
int64_t first_scored(const PerplexityOptions& options) {
  return options.stride > 0 ? options.context - options.stride : options.context / 2 + 1;
}

}  // namespace

int64_t step_of(const PerplexityOptions& options) {
  return options.stride > 0 ? options.stride : options.context;
}

std::vector<int32_t> window_of(std::span<const int32_t> tokens, const PerplexityOptions& options,
                               int64_t index) {
  const auto part = tokens.subspan(static_cast<size_t>(index * step_of(options)),
                                   static_cast<size_t>(options.context));
  std::vector<int32_t> window(part.begin(), part.end());
  if (options.bos) window[0] = *options.bos;
  return window;
}

std::vector<Piece> pieces_of(const PerplexityOptions& options) {
  const int64_t rows = options.context - 1, first = first_scored(options) - 1;
  std::vector<Piece> pieces;
  int64_t done = first / kPiece * kPiece;
  if (done > 0) pieces.push_back({0, done, done});
  while (done < rows) {
    const int64_t end = std::min(done + kPiece, rows);
    pieces.push_back({done, end, std::max(done, first)});
    done = end;
  }
  return pieces;
}

void check_tokens(const char* where, std::span<const int32_t> tokens, int64_t vocab_size) {
  for (int32_t id : tokens) {
    if (id >= 0 && id < vocab_size) continue;
    throw Error(ErrorKind::kInvalidArgument, ErrorDetail{where, "token", std::to_string(id),
                                                         "0 .. " + std::to_string(vocab_size - 1)});
  }
}

double negative_log_likelihood(std::span<const float> logits, int32_t target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return std::log(sum) - (static_cast<double>(logits[static_cast<size_t>(target)]) - largest);
}

MeanAndError mean_of(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  MeanAndError result;
  for (double value : values) result.mean += value;
  result.mean /= count;
  double squares = 0.0;
  for (double value : values) squares += (value - result.mean) * (value - result.mean);
  result.error = values.size() > 1 ? std::sqrt(squares / (count - 1.0) / count)
                                   : std::numeric_limits<double>::quiet_NaN();
  return result;
}

Perplexity summarize(std::span<const double> nll, int64_t windows) {
  const MeanAndError of_nll = mean_of(nll);
  Perplexity result;
  result.tokens = static_cast<int64_t>(nll.size());
  result.windows = windows;
  result.mean_nll = of_nll.mean;
  result.perplexity = std::exp(of_nll.mean);
  result.standard_error = result.perplexity * of_nll.error;
  return result;
}

}  // namespace mlxn::runtime
