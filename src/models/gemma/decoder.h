// SPDX-License-Identifier: Apache-2.0
// The Gemma 3 and Gemma 4 text decoder; layer() reads like the papers' description. A decode step
// is recorded whole and runs when the caller commits. A prefill commits layer by layer, so that
// what ops stage for a long prompt is freed on the way.
#pragma once

#include <cstdint>
#include <vector>

#include "mlxn/model_config.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/stream.h"
#include "models/blocks/attention.h"
#include "models/gemma/plan.h"
#include "models/gemma/scratch.h"
#include "models/gemma/weights.h"

namespace mlxn::models {

// What a forward pass leaves behind for tests. Empty buffers are not written.
struct Trace {
  Buffer hidden;          // f32 [L + 1, T, H]: scaled embeddings, then the output of every layer
  Buffer router_ids;      // u32 [L, T, top_k]
  Buffer router_weights;  // f32 [L, T, top_k]
};

class Decoder {
 public:
  Decoder(const Device& device, ModelConfig config, GemmaWeights weights, const Plan& plan);

  const ModelConfig& config() const { return config_; }
  const GemmaWeights& weights() const { return weights_; }
  const std::vector<KvCache>& caches() const { return caches_; }
  Scratch& scratch() { return scratch_; }
  uint64_t cache_byte_len() const { return cache_bytes_; }

  // The tokens in scratch().ids, at most one chunk, at positions start .. start + count - 1 of one
  // sequence. Logits: Scratch::logits(1) for the last position; all of them if `all_logits`
  // [count, V] is given; none if the prompt goes on.
  enum class Want : uint8_t { kNothing, kLast, kAll };
  void prefill(Stream& stream, int64_t sequence, int64_t start, int64_t count, Want want,
               const Buffer& all_logits = {}, const Trace& trace = {});

  // One token of each of the first `batch` sequences, from the step state; logits to
  // Scratch::logits(batch).
  void decode(Stream& stream, int64_t batch);

 private:
  struct Pass;
  AttentionShape attention_shape(const LayerConfig& layer) const;
  const KvCache& cache_of(size_t layer) const;
  ops::RmsNormArgs norm_of(const Pass& pass, const Buffer& weight, const Buffer& out) const;
  ops::RmsNormAddArgs join(const Pass& pass, const Buffer& weight, float scale = 1.0f) const;
  ops::RmsNormArgs input_norm(const Pass& pass, size_t index) const;
  void embed(Stream& stream, const Pass& pass);
  void run_layers(Stream& stream, Pass& pass);
  void layer(Stream& stream, Pass& pass, size_t index);
  void feed_forward(Stream& stream, const Pass& pass, size_t index);
  void per_layer_input(Stream& stream, const Pass& pass, size_t index);
  void head(Stream& stream, const Buffer& logits);

  ModelConfig config_;
  GemmaWeights weights_;
  std::vector<AttentionShape> shapes_;  // one per layer
  std::vector<KvCache> caches_;         // one per layer; empty where another one's is used
  uint64_t cache_bytes_ = 0;
  int64_t first_reader_layer_;
  float per_layer_embedding_scale_ = 1.0f;
  Scratch scratch_;
};

}  // namespace mlxn::models
