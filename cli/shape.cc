// SPDX-License-Identifier: Apache-2.0
#include "shape.h"

#include <fmt/format.h>

namespace mlxn::cli {
namespace {

int64_t attention_parameters(const ModelConfig& config, const LayerConfig& layer) {
  const int64_t query = config.num_heads * layer.head_dim * config.hidden_size;
  const int64_t kv = layer.num_kv_heads * layer.head_dim * config.hidden_size;
  const int64_t kv_matrices = layer.kv_shared_from >= 0 ? 0 : layer.k_eq_v ? 1 : 2;
  return 2 * query + kv_matrices * kv;  // q_proj and o_proj are of one size
}

}  // namespace

ParameterCount count_parameters(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  ParameterCount count;
  const auto add = [&count](int64_t total, int64_t active) {
    count.total += total;
    count.active += active;
  };
  const int64_t table = config.vocab_size * hidden;
  add(table, table);
  if (!config.tie_word_embeddings) add(table, 0);
  const int64_t per_layer_input = config.per_layer_input_size * config.num_layers();
  add(config.per_layer_input_vocab_size * per_layer_input, 0);
  add(per_layer_input * hidden, per_layer_input * hidden);
  for (const LayerConfig& layer : config.layers) {
    const int64_t dense = attention_parameters(config, layer) +
                          3 * layer.intermediate_size * hidden +
                          2 * config.per_layer_input_size * hidden;
    add(dense, dense);
    if (config.moe.num_experts == 0) continue;
    const int64_t expert = 3 * config.moe.intermediate_size * hidden;
    const int64_t router = config.moe.num_experts * hidden;
    add(config.moe.num_experts * expert + router, config.moe.top_k * expert + router);
  }
  return count;
}

std::string human_count(double count) {
  if (count >= 1e9) return fmt::format("{:.2f} B", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.1f} M", count / 1e6);
  return fmt::format("{:.1f} K", count / 1e3);
}

}  // namespace mlxn::cli
