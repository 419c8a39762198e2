// SPDX-License-Identifier: Apache-2.0
// The weights of a Gemma decoder and where they come from.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/checkpoint.h"
#include "mlxn/model_config.h"
#include "models/blocks/attention.h"
#include "models/blocks/mlp.h"
#include "models/blocks/moe.h"

namespace mlxn::models {

// Norm weights are f32 [H].
struct GemmaLayerWeights {
  Buffer input_norm;
  AttentionWeights attention;
  Buffer post_attention_norm;
  Buffer pre_feedforward_norm;
  MlpWeights mlp;
  Buffer post_feedforward_norm;

  MoeWeights moe;                  // if the model has experts
  Buffer post_feedforward_norm_1;  // of the dense branch
  Buffer pre_feedforward_norm_2;   // of the experts
  Buffer post_feedforward_norm_2;

  Weight per_layer_input_gate;  // [P, H], if the model has per-layer inputs
  Weight per_layer_projection;  // [H, P]
  Buffer post_per_layer_input_norm;

  float layer_scalar = 1.0f;
};

struct GemmaWeights {
  Weight embed_tokens;                // [V, H]
  Weight lm_head;                     // [V, H]; that of embed_tokens if tied
  Weight embed_tokens_per_layer;      // [Vp, L * P]
  Weight per_layer_model_projection;  // [L * P, H]
  Buffer per_layer_projection_norm;   // f32 [P]
  std::vector<GemmaLayerWeights> layers;
  Buffer norm;
};

// Serves tensors by their canonical names (mlxn/checkpoint.h).
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(std::string_view name) const = 0;
  virtual Weight matrix(std::string_view name, const Shape& shape) = 0;
  virtual std::vector<float> floats(std::string_view name, int64_t count) = 0;
  virtual ExpertWeights experts(int64_t layer) = 0;
  // A prepared copy serves in place of this weight from now on.
  virtual void let_go(const Weight&) {}
};

std::unique_ptr<WeightSource> checkpoint_source(const Device& device, const Checkpoint& checkpoint);
std::unique_ptr<WeightSource> random_source(const Device& device, const ModelConfig& config,
                                            int bits, int group_size);

struct LoadOptions {
  bool prepare = true;
  std::function<void(double fraction)> progress = {};
};

// Asks the source for every tensor that the configuration implies.
GemmaWeights load_weights(const Device& device, const ModelConfig& config, WeightSource& source,
                          const LoadOptions& options);

struct WeightBytes {
  uint64_t stored = 0;
  uint64_t mapped = 0;    // of these, what a CPU reads from the mapped file
  uint64_t prepared = 0;  // what prepare() made, or would make
};
// On a device of this kind, wherever these weights are. Norms and scalars included, a tied head
// counted once.
WeightBytes count_bytes(DeviceKind kind, const GemmaWeights& weights);

}  // namespace mlxn::models
