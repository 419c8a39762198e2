// SPDX-License-Identifier: Apache-2.0
#include "models/model_impl.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "models/host_copy.h"

namespace mlxn {

using models::Decoder;

ModelImpl::ModelImpl(const Device& device, const ModelConfig& config, models::GemmaWeights weights,
                     ModelOptions options, std::vector<std::string> warnings)
    : device_(device),
      options_(std::move(options)),
      plan_(models::make_plan(config, options_)),
      decoder_(device, config, std::move(weights), plan_),
      stream_(device),
      weight_bytes_(models::count_bytes(device.kind(), decoder_.weights())),
      warnings_(std::move(warnings)),
      lengths_(static_cast<size_t>(plan_.batch), 0),
      peak_lengths_(lengths_) {
  options_.progress = {};  // what it refers to ends with the load
  options_.max_context = plan_.max_context;
  options_.prefill_chunk = plan_.chunk;
  if (!options_.prepare) weight_bytes_.prepared = 0;
}

ModelMemory ModelImpl::memory() const {
  ModelMemory memory;
  memory.weights = weight_bytes_.stored;
  memory.mapped = weight_bytes_.mapped;
  memory.prepared = weight_bytes_.prepared;
  memory.caches = decoder_.cache_byte_len();
  memory.scratch = const_cast<Decoder&>(decoder_).scratch().byte_len();
  return memory;
}

size_t ModelImpl::checked_sequence(int64_t sequence) const {
  if (sequence < 0 || sequence >= plan_.batch) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Model", "sequence", std::to_string(sequence),
                            "0 .. " + std::to_string(plan_.batch - 1)});
  }
  return static_cast<size_t>(sequence);
}

void ModelImpl::check_token(int32_t id) const {
  if (id >= 0 && id < config().vocab_size) return;
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"Model", "token", std::to_string(id),
                          "0 .. " + std::to_string(config().vocab_size - 1)});
}

void ModelImpl::reset() {
  std::fill(lengths_.begin(), lengths_.end(), 0);
  std::fill(peak_lengths_.begin(), peak_lengths_.end(), 0);
}

bool ModelImpl::trim(int64_t sequence, int64_t length) {
  const size_t row = checked_sequence(sequence);
  if (length < 0 || length > lengths_[row]) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Model::trim", "length", std::to_string(length),
                            "0 .. " + std::to_string(lengths_[row])});
  }
  for (const auto& cache : plan_.caches) {
    // The next token looks back to position length - window + 1, whose slot was taken over by
    // position + capacity if the sequence ever got that far.
    if (!cache || cache->window_size == 0 || length == 0) continue;
    const int64_t oldest = std::max<int64_t>(0, length - config().window_size + 1);
    if (peak_lengths_[row] > oldest + KvCache::capacity_of(*cache)) return false;
  }
  lengths_[row] = length;
  if (length == 0) peak_lengths_[row] = 0;
  return true;
}

void ModelImpl::run_chunk(int64_t sequence, std::span<const int32_t> tokens, Decoder::Want want,
                          float* all_logits, const models::Trace& trace) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto row = static_cast<size_t>(sequence);
  const int64_t start = lengths_[row];
  models::Scratch& scratch = decoder_.scratch();
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(start));
  Buffer logits;
  if (want == Decoder::Want::kAll) logits = device_.alloc(f32, {count, config().vocab_size});
  // Slots are overwritten from here on, whether the chunk ends well or not.
  peak_lengths_[row] = std::max(peak_lengths_[row], start + count);
  recording([&] {
    models::copy_in(stream_, scratch.ids(count), tokens.data());
    models::copy_in(stream_, scratch.positions(count), positions.data());
    decoder_.prefill(stream_, sequence, start, count, want, logits, trace);
    stream_.commit().wait();
  });
  if (logits) device_.download(logits, all_logits);
  lengths_[row] = start + count;
}

void ModelImpl::check_prompt(int64_t sequence, std::span<const int32_t> tokens) const {
  const size_t row = checked_sequence(sequence);
  if (tokens.empty()) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Model::prefill", "tokens", "none", "at least one"});
  }
  for (int32_t id : tokens) check_token(id);
  const auto total = static_cast<int64_t>(tokens.size());
  if (total > plan_.max_context - lengths_[row]) {
    throw Error(
        ErrorKind::kContextFull,
        ErrorDetail{"Model::prefill", "tokens",
                    std::to_string(lengths_[row]) + " held and " + std::to_string(total) + " new",
                    "at most " + std::to_string(plan_.max_context) + " together"});
  }
}

bool ModelImpl::prefill(int64_t sequence, std::span<const int32_t> tokens, float* all_logits,
                        const PrefillHooks& hooks) {
  check_prompt(sequence, tokens);
  const auto row = static_cast<size_t>(sequence);
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t done = 0; done < total;) {
    if (hooks.before_chunk && !hooks.before_chunk(done)) return false;
    // Boundaries lie at multiples of the chunk in the sequence, wherever the prompt starts.
    const int64_t to_boundary = plan_.chunk - lengths_[row] % plan_.chunk;
    const int64_t count = std::min(to_boundary, total - done);
    const bool is_last = done + count == total;
    auto want = is_last ? Decoder::Want::kLast : Decoder::Want::kNothing;
    if (all_logits != nullptr) want = Decoder::Want::kAll;
    run_chunk(sequence, tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(count)), want,
              all_logits ? all_logits + done * config().vocab_size : nullptr, hooks.trace);
    done += count;
  }
  return true;
}

void ModelImpl::set_step_tokens(std::span<const int32_t> tokens) {
  const Buffer buffer = decoder_.scratch().step().tokens;
  models::copy_in(stream_, buffer.rows(0, static_cast<int64_t>(tokens.size())), tokens.data());
}

void ModelImpl::queue_decode(int64_t batch) {
  if (batch < 1 || batch > plan_.batch) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Model::decode", "sequences", std::to_string(batch),
                            "1 .. " + std::to_string(plan_.batch)});
  }
  std::vector<int32_t> positions(static_cast<size_t>(batch)), kv_len(positions);
  for (size_t row = 0; row < static_cast<size_t>(batch); ++row) {
    if (lengths_[row] >= plan_.max_context) {
      throw Error(ErrorKind::kContextFull,
                  ErrorDetail{"Model::decode", "length", std::to_string(lengths_[row]),
                              "below " + std::to_string(plan_.max_context)});
    }
    positions[row] = static_cast<int32_t>(lengths_[row]);
    kv_len[row] = positions[row] + 1;
  }
  for (size_t row = 0; row < static_cast<size_t>(batch); ++row) {
    peak_lengths_[row] = std::max(peak_lengths_[row], lengths_[row] + 1);
  }
  recording([&] {
    const models::StepState& step = decoder_.scratch().step();
    models::copy_in(stream_, step.positions.rows(0, batch), positions.data());
    models::copy_in(stream_, step.kv_len.rows(0, batch), kv_len.data());
    if (decode_batch_ != batch) {
      // A captured step holds scratch of its own, so only one is kept.
      decode_step_ = Graph();
      decode_batch_ = 0;
      stream_.begin_capture();
      decoder_.decode(stream_, batch);
      decode_step_ = stream_.end_capture();
      decode_batch_ = batch;
    }
    stream_.replay(decode_step_);
  });
}

void ModelImpl::recording(const std::function<void()>& body) {
  try {
    body();
  } catch (...) {
    stream_.discard();
    throw;
  }
}

bool ModelImpl::claim(uint64_t owner) {
  const bool unchanged = owner != 0 && owner_ == owner;
  owner_ = owner;
  return unchanged;
}

void ModelImpl::advance(int64_t batch, const std::vector<bool>& frozen) {
  for (size_t row = 0; row < static_cast<size_t>(batch); ++row) {
    if (frozen.empty() || !frozen[row]) ++lengths_[row];
  }
}

}  // namespace mlxn
