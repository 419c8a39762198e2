// SPDX-License-Identifier: Apache-2.0
// A decoder with a stream, the lengths of its sequences and the captured decode steps.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mlxn/model.h"
#include "models/gemma/decoder.h"

namespace mlxn {

// What a prefill may report and leave behind.
struct PrefillHooks {
  // Before each chunk, with the tokens done; false stops, and what is done stays in the caches.
  std::function<bool(int64_t done)> before_chunk;
  models::Trace trace = {};  // for a prompt of one chunk
};

class ModelImpl {
 public:
  ModelImpl(const Device& device, const ModelConfig& config, models::GemmaWeights weights,
            ModelOptions options, std::vector<std::string> warnings);

  const Device& device() const { return device_; }
  const ModelConfig& config() const { return decoder_.config(); }
  const ModelOptions& options() const { return options_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  ModelMemory memory() const;
  models::Decoder& decoder() { return decoder_; }
  Stream& stream() { return stream_; }

  int64_t length(int64_t sequence) const { return lengths_.at(checked_sequence(sequence)); }
  void reset();
  bool trim(int64_t sequence, int64_t length);

  // Runs the tokens in chunks and waits. Logits of the last position are in
  // Scratch::logits(1); of all positions in `all_logits` [T, V] if it is given.
  // Returns false if before_chunk stopped it.
  bool prefill(int64_t sequence, std::span<const int32_t> tokens, float* all_logits = nullptr,
               const PrefillHooks& hooks = {});

  // Queues one decode step for the first `batch` sequences: the tokens are in the step state, or
  // are given. Nothing runs until the stream is committed; advance() then counts the tokens.
  void queue_decode(int64_t batch);
  void set_step_tokens(std::span<const int32_t> tokens);
  // One more token in each of the first `batch` sequences, except where `frozen` is set: those
  // write to the same slot again next time.
  void advance(int64_t batch, const std::vector<bool>& frozen = {});

  void check_token(int32_t id) const;
  // That the sequence can take these tokens. Throws kInvalidArgument, kContextFull.
  void check_prompt(int64_t sequence, std::span<const int32_t> tokens) const;

  // Says who is about to write the caches. True if nobody else has since this owner's last claim,
  // so that what it remembers of their contents holds. 0 is nobody in particular.
  bool claim(uint64_t owner);

 private:
  size_t checked_sequence(int64_t sequence) const;
  // Runs body, which records; if it throws, the half-made recording is dropped.
  void recording(const std::function<void()>& body);
  void run_chunk(int64_t sequence, std::span<const int32_t> tokens, models::Decoder::Want want,
                 float* all_logits, const models::Trace& trace);

  Device device_;
  ModelOptions options_;
  models::Plan plan_;
  models::Decoder decoder_;
  Stream stream_;
  models::WeightBytes weight_bytes_;
  std::vector<std::string> warnings_;
  std::vector<int64_t> lengths_;       // tokens in the caches, per sequence
  std::vector<int64_t> peak_lengths_;  // the most a sequence has held since it was last empty
  Graph decode_step_;                  // of decode_batch_ sequences
  int64_t decode_batch_ = 0;           // 0: none captured
  uint64_t owner_ = 0;                 // who wrote the caches last
};

}  // namespace mlxn
