// SPDX-License-Identifier: Apache-2.0
#include "runtime/sampler.h"

#include <algorithm>
#include <cstring>

namespace mlxn::runtime {
namespace {

Buffer suppressed_ids(const Device& device, const ModelConfig& config, int64_t tokenizer_size) {
  std::vector<int32_t> ids;
  for (int64_t id : config.suppress_tokens) {
    if (id >= 0 && id < config.vocab_size) ids.push_back(static_cast<int32_t>(id));
  }
  for (int64_t id = tokenizer_size; id < config.vocab_size; ++id) {
    ids.push_back(static_cast<int32_t>(id));
  }
  if (ids.empty()) return {};
  return device.upload(ids.data(), i32, {static_cast<int64_t>(ids.size())});
}

}  // namespace

Sampler::Sampler(ModelImpl& model, const GenerateOptions& options, int64_t tokenizer_size)
    : model_(model),
      params_(options.sampling),
      num_top_(std::min<int64_t>(std::max(options.logprobs, 0), model.config().vocab_size)),
      wants_logprobs_(options.logprobs >= 0),
      suppress_(suppressed_ids(model.device(), model.config(), tokenizer_size)),
      lengths_(static_cast<size_t>(model.options().batch), 0) {
  const Device& device = model.device();
  const int64_t batch = model.options().batch;
  sequence_ids_ = device.alloc(u32, {batch});
  if (uses_history()) history_ = device.alloc(i32, {batch, model.options().max_context + 1});
  if (wants_logprobs_) logprobs_ = device.alloc(f32, {batch});
  if (num_top_ > 0) {
    top_ids_ = device.alloc(u32, {batch, num_top_});
    top_values_ = device.alloc(f32, {batch, num_top_});
  }
}

bool Sampler::uses_history() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f;
}

void Sampler::append(int64_t row, int32_t id) {
  int64_t& length = lengths_[static_cast<size_t>(row)];
  if (history_) {
    const Buffer line = history_.rows(row, 1);
    line.span<int32_t>()[static_cast<size_t>(length)] = id;
  }
  ++length;
}

void Sampler::start(int64_t row, std::span<const int32_t> prompt) {
  lengths_[static_cast<size_t>(row)] = 0;
  for (int32_t id : prompt) append(row, id);
}

void Sampler::queue(const Buffer& logits, int64_t first_row, std::span<const uint32_t> sequences) {
  Stream& stream = model_.stream();
  queued_logits_ = logits;
  first_row_ = first_row;
  count_ = logits.dim(0);
  const auto first = lengths_.begin() + first_row;
  const std::vector<int64_t> lengths(first, first + count_);
  const Buffer keys = sequence_ids_.rows(first_row, count_);
  std::memcpy(keys.data(), sequences.data(), keys.byte_len());
  ops::SampleArgs args{.logits = logits,
                       .params = {params_},
                       .suppress = suppress_,
                       .positions = Lengths(lengths),
                       .sequence_ids = keys,
                       .tokens = model_.decoder().scratch().step().tokens.rows(first_row, count_)};
  if (history_) {
    args.history = history_.rows(first_row, count_);
    args.history_len = Lengths(lengths);
  }
  if (logprobs_) args.logprobs = logprobs_.rows(first_row, count_);
  ops::sample(stream, args);
  if (num_top_ > 0) {
    ops::top_k(stream, {.x = logits,
                        .indices = top_ids_.rows(first_row, count_),
                        .values = top_values_.rows(first_row, count_)});
  }
}

std::vector<Draw> Sampler::take(const std::vector<bool>& ignored) {
  const Buffer tokens = model_.decoder().scratch().step().tokens.rows(first_row_, count_);
  const int64_t vocab = model_.config().vocab_size;
  std::vector<Draw> draws(static_cast<size_t>(count_));
  for (int64_t i = 0; i < count_; ++i) {
    if (!ignored.empty() && ignored[static_cast<size_t>(i)]) continue;
    Draw& draw = draws[static_cast<size_t>(i)];
    const int64_t row = first_row_ + i;
    draw.id = tokens.span<int32_t>()[static_cast<size_t>(i)];
    append(row, draw.id);
    if (!logprobs_) continue;
    draw.logprob = logprobs_.span<float>()[static_cast<size_t>(row)];
    if (num_top_ == 0) continue;
    // Log-probabilities differ as the raw logits do; the drawn token's own is known.
    const float logit = queued_logits_.span<float>()[static_cast<size_t>(i * vocab + draw.id)];
    for (int64_t k = 0; k < num_top_; ++k) {
      const auto at = static_cast<size_t>(row * num_top_ + k);
      draw.top_logprobs.push_back({static_cast<int32_t>(top_ids_.span<uint32_t>()[at]),
                                   draw.logprob + (top_values_.span<float>()[at] - logit)});
    }
  }
  return draws;
}

}  // namespace mlxn::runtime
