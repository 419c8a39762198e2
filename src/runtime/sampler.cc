// SPDX-License-Identifier: Apache-2.0
#include "runtime/sampler.h"

#include <algorithm>

#include "models/host_copy.h"

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
  if (history_) write_history(row, length, {&id, 1});
  ++length;
}

void Sampler::write_history(int64_t row, int64_t at, std::span<const int32_t> ids) {
  const Buffer line = history_.rows(row, 1);
  const Buffer part =
      line.slice(static_cast<size_t>(at) * sizeof(int32_t), static_cast<int64_t>(ids.size()));
  model_.device().upload(part, ids.data());
}

void Sampler::start(int64_t row, std::span<const int32_t> prompt) {
  if (history_) write_history(row, 0, prompt);
  lengths_[static_cast<size_t>(row)] = static_cast<int64_t>(prompt.size());
}

void Sampler::queue(const Buffer& logits, int64_t first_row, std::span<const uint32_t> sequences) {
  Stream& stream = model_.stream();
  queued_logits_ = logits;
  first_row_ = first_row;
  count_ = logits.dim(0);
  const auto first = lengths_.begin() + first_row;
  const std::vector<int64_t> lengths(first, first + count_);
  const Buffer keys = sequence_ids_.rows(first_row, count_);
  models::copy_in(stream, keys, sequences.data());
  const Buffer tokens = model_.decoder().scratch().step().tokens.rows(first_row, count_);
  ops::SampleArgs args{.logits = logits,
                       .params = {params_},
                       .suppress = suppress_,
                       .positions = Lengths(lengths),
                       .sequence_ids = keys,
                       .tokens = tokens};
  if (history_) {
    args.history = history_.rows(first_row, count_);
    args.history_len = Lengths(lengths);
  }
  if (logprobs_) args.logprobs = logprobs_.rows(first_row, count_);
  ops::sample(stream, args);
  queued_tokens_ = tokens;
  drawn_.resize(static_cast<size_t>(count_));
  if (!tokens.host_visible()) stream.download(tokens, drawn_.data());
  if (num_top_ > 0) {
    ops::top_k(stream, {.x = logits,
                        .indices = top_ids_.rows(first_row, count_),
                        .values = top_values_.rows(first_row, count_)});
  }
}

std::vector<Draw> Sampler::take(const std::vector<bool>& ignored) {
  const Device& device = model_.device();
  const int64_t vocab = model_.config().vocab_size;
  if (queued_tokens_.host_visible()) device.download(queued_tokens_, drawn_.data());
  std::vector<float> logprobs, top_values;
  std::vector<int32_t> top_ids;
  if (logprobs_) logprobs = models::copy_out<float>(device, logprobs_);
  if (num_top_ > 0) {
    top_ids = models::copy_out<int32_t>(device, top_ids_);
    top_values = models::copy_out<float>(device, top_values_);
  }
  std::vector<Draw> draws(static_cast<size_t>(count_));
  for (int64_t i = 0; i < count_; ++i) {
    if (!ignored.empty() && ignored[static_cast<size_t>(i)]) continue;
    Draw& draw = draws[static_cast<size_t>(i)];
    const int64_t row = first_row_ + i;
    draw.id = drawn_[static_cast<size_t>(i)];
    append(row, draw.id);
    if (!logprobs_) continue;
    draw.logprob = logprobs[static_cast<size_t>(row)];
    if (num_top_ == 0) continue;
    // Log-probabilities differ as the raw logits do; the drawn token's own is known.
    const size_t place = static_cast<size_t>(i * vocab + draw.id) * sizeof(float);
    const float logit = models::copy_out<float>(device, queued_logits_.slice(place, 1))[0];
    for (int64_t k = 0; k < num_top_; ++k) {
      const auto at = static_cast<size_t>(row * num_top_ + k);
      draw.top_logprobs.push_back({top_ids[at], draw.logprob + (top_values[at] - logit)});
    }
  }
  return draws;
}

}  // namespace mlxn::runtime
