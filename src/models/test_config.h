// SPDX-License-Identifier: Apache-2.0
// A tiny Gemma 4 for tests that need shapes but no golden weights: two sliding layers and a full
// one, then the same again on shared caches.
#pragma once

#include "mlxn/model_config.h"

namespace mlxn::models {

inline ModelConfig test_config() {
  ModelConfig config;
  config.model_type = "gemma4_text";
  config.vocab_size = 256;
  config.hidden_size = 64;
  config.num_heads = 4;
  config.window_size = 4;
  config.max_position_embeddings = 512;
  config.embedding_scale = 8.0f;
  config.final_logits_soft_cap = 30.0;
  config.rope_full = {.kind = RopeKind::kProportional,
                      .theta = 1e6,
                      .factor = 1.0,
                      .partial_rotary_factor = 0.25,
                      .freq_factors = {}};
  config.per_layer_input_size = 32;
  config.per_layer_input_vocab_size = 256;
  config.eos_token_ids = {1};
  for (int64_t i = 0; i < 6; ++i) {
    LayerConfig layer;
    layer.type = i % 3 == 2 ? LayerType::kFull : LayerType::kSliding;
    layer.head_dim = i % 3 == 2 ? 32 : 16;
    layer.num_kv_heads = 2;
    layer.intermediate_size = i >= 3 ? 192 : 96;
    if (i >= 3) layer.kv_shared_from = i % 3 == 2 ? 2 : 1;
    config.layers.push_back(layer);
  }
  return config;
}

}  // namespace mlxn::models
