// SPDX-License-Identifier: Apache-2.0
// What each type of KV cache takes and what it does to a model's answers, side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mlxn/export.h"
#include "mlxn/kv_type.h"
#include "mlxn/model.h"
#include "mlxn/perplexity.h"
#include "mlxn/tokenizer.h"

namespace mlxn {

// A prompt whose reply must hold these digits and no others.
struct RecallItem {
  std::vector<int32_t> prompt;
  std::string digits;
};

struct KvReportOptions {
  std::vector<KvTypes> types = {};      // one row each
  KvTypes baseline = {};                // what perplexity and logits are compared with
  bool norm_correction = false;         // of codes, as KvCacheShape::norm_correction
  int64_t context = 512;                // tokens of a window of the text, as PerplexityOptions
  std::optional<int32_t> bos = {};      // as PerplexityOptions
  std::vector<RecallItem> recall = {};  // read greedily, at most max_reply tokens
  int64_t max_reply = 48;
  int64_t depth = 0;   // tokens in the cache where speed is measured; 0: it is not
  int64_t steps = 64;  // decode steps that are timed
  // From time to time, with the part that is done, 0 to 1. False stops; what is known by then is
  // returned.
  std::function<bool(double fraction)> progress = {};

  // Tokens that the longest recall item, or the measurement of speed, puts into a cache, of a type
  // at a time; 0: neither is measured. Of lengths that kv_report() takes.
  MLXN_API int64_t longest_cache() const;
};

struct KvReportRow {
  KvTypes types;
  int64_t bytes_per_token = 0;  // of all layers, as long as no ring drops it
  uint64_t cache_bytes = 0;     // of one sequence of the longest context that the model allows
  Perplexity perplexity;        // 0 windows: not measured
  double change = 0.0;          // perplexity / the baseline's - 1
  double change_error = 0.0;    // its standard error; the same tokens are compared
  double logit_change = 0.0;    // largest absolute difference of a logit, over all scored tokens,
  double mean_logit_change = 0.0;  // and the mean
  int64_t recall_right = 0;        // of the items below
  int64_t recall_items = 0;        // 0: not measured
  double prompt_rate = 0.0;        // tokens per second over `depth` tokens; 0: not measured
  double generation_rate = 0.0;    // behind them, by the median step
};

// Bytes that a token's keys and values take in all layers of a model.
MLXN_API int64_t kv_bytes_per_token(const ModelConfig& config, const KvTypes& types);

// Measures every type on the weights of `model`, whose own caches stay as they are. The text is cut
// into windows of which the second half is scored, as perplexity() does without a stride; all types
// take a window before the next one begins. With d the differences of nll to the baseline's, token
// by token: change = exp(mean(d)) - 1, change_error = exp(mean(d)) s / sqrt(n).
// Needs room for the caches of all types at `context`, and for one of them at a time at the length
// of a recall prompt or `depth`.
// Throws as perplexity(), and kInvalidArgument for no types, empty prompts, and lengths beyond
// max_position_embeddings.
MLXN_API std::vector<KvReportRow> kv_report(const Model& model, const Tokenizer& tokenizer,
                                            std::span<const int32_t> tokens,
                                            const KvReportOptions& options);

}  // namespace mlxn
