// SPDX-License-Identifier: Apache-2.0
// Text from prompts: prefill, batched decoding, sampling, stop conditions, streaming.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/export.h"
#include "mlxn/model.h"
#include "mlxn/ops/sampling.h"
#include "mlxn/tokenizer.h"

namespace mlxn {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;
};

struct GenerateOptions {
  int64_t max_tokens = 256;  // per sequence
  ops::SamplingParams sampling = {};
  std::vector<std::string> stop = {};  // text that ends a reply; it is not part of the result
  std::vector<int32_t> stop_ids = {};  // ends a reply like an end-of-sequence token
  bool ignore_eos = false;   // the model's and the tokenizer's stop ids do not end a reply
  int logprobs = 0;          // alternatives reported per token; < 0: no log-probabilities
  bool skip_special = true;  // special tokens give no text
  bool reuse_cache = false;  // keep what the caches share with the prompt (chat)
  std::function<bool()> cancelled = {};  // asked before every prefill chunk and decode step
  // Told as prompts are read: tokens done and in total, of all prompts.
  std::function<void(int64_t done, int64_t total)> prompt_progress = {};
};

// The tokenizer that came with a model: tokenizer.json and its companions, or the vocabulary inside
// a GGUF file. Throws what Tokenizer throws.
MLXN_API Tokenizer load_tokenizer(const Checkpoint& checkpoint);

enum class FinishReason : uint8_t {
  kEos,          // an end-of-sequence or stop id
  kStop,         // a stop string
  kLength,       // max_tokens
  kContextFull,  // no room for another token
  kCancelled,
};

MLXN_API std::string_view name(FinishReason reason);  // "eos", "stop", "length", ...

// One sampled token. The end token itself is reported, with empty text.
struct TokenEvent {
  int sequence = 0;
  int32_t id = 0;
  // Text that became certain: whole characters, nothing that may yet turn out to be a stop string.
  // After the last token one more event with id -1 may carry what was held back.
  std::string text;
  float logprob = 0.0f;                    // log-softmax of the raw logits
  std::vector<TokenLogprob> top_logprobs;  // best first
};

struct MLXN_API GenerateStats {
  int64_t prompt_tokens = 0;     // as far as the prompts were read, cached ones included
  int64_t cached_tokens = 0;     // of these, already in the caches
  int64_t generated_tokens = 0;  // all sequences, end tokens included
  double prompt_seconds = 0.0;   // up to the first sampled tokens
  double generation_seconds = 0.0;

  double prompt_rate() const;      // tokens per second; 0 if nothing was measured
  double generation_rate() const;  // the first token of each sequence belongs to the prompt's time
  int64_t first_tokens = 0;        // sampled inside prompt_seconds
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> tokens;  // sampled ones, the end token included
  std::vector<float> logprobs;  // one per token unless switched off
  FinishReason finish = FinishReason::kLength;
};

class MLXN_API Generator {
 public:
  // Copies share the model and its caches.
  Generator(Model model, Tokenizer tokenizer);
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  // Runs all prompts, model.options().batch of them at a time. A sequence's tokens do not depend on
  // the others nor on the batch. on_token is called on the calling thread in the order of sampling.
  // Throws kInvalidArgument for an empty prompt, ids outside the vocabulary or options outside
  // their range, kContextFull for a prompt longer than max_context.
  std::vector<GenerateResult> run(const std::vector<std::vector<int32_t>>& prompts,
                                  const GenerateOptions& options = {},
                                  const std::function<void(const TokenEvent&)>& on_token = {});

  const GenerateStats& stats() const;  // of the last run
  const Model& model() const;
  const Tokenizer& tokenizer() const;
  // Tokens whose keys and values the caches of a sequence hold. With reuse_cache a prompt that
  // starts with them costs only its new part.
  std::span<const int32_t> cached_tokens(int sequence = 0) const;
  // Forgets the conversation.
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxn
