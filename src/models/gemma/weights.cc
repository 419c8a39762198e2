// SPDX-License-Identifier: Apache-2.0
#include "models/gemma/weights.h"

#include <cmath>
#include <utility>

#include "ops/prepare.h"

namespace mlxn::models {
namespace {

class Loader {
 public:
  Loader(const Device& device, const ModelConfig& config, WeightSource& source,
         const LoadOptions& options)
      : device_(device), config_(config), source_(source), options_(options) {}

  GemmaWeights load();

 private:
  Weight prepared(Weight weight) {
    if (!options_.prepare) return weight;
    Weight prepared = prepare(device_, weight);
    if (prepared.packed) source_.let_go(weight);
    return prepared;
  }
  Weight matrix(const std::string& name, int64_t rows, int64_t cols) {
    return prepared(source_.matrix(name, {rows, cols}));
  }
  Buffer vector(const std::string& name, int64_t count) {
    return device_.upload(source_.floats(name, count).data(), f32, {count});
  }
  void report(int64_t layers_done) {
    if (!options_.progress) return;
    options_.progress(static_cast<double>(layers_done) /
                      static_cast<double>(config_.num_layers() + 1));
  }

  GemmaLayerWeights load_layer(int64_t index);
  AttentionWeights load_attention(const std::string& prefix, const LayerConfig& layer);
  void load_moe(int64_t index, const std::string& prefix, GemmaLayerWeights& out);

  const Device& device_;
  const ModelConfig& config_;
  WeightSource& source_;
  const LoadOptions& options_;
};

AttentionWeights Loader::load_attention(const std::string& prefix, const LayerConfig& layer) {
  const int64_t hidden = config_.hidden_size;
  const int64_t q_width = config_.num_heads * layer.head_dim;
  const int64_t kv_width = layer.num_kv_heads * layer.head_dim;
  AttentionWeights out;
  out.q = matrix(prefix + "self_attn.q_proj", q_width, hidden);
  out.o = matrix(prefix + "self_attn.o_proj", hidden, q_width);
  out.q_norm = vector(prefix + "self_attn.q_norm.weight", layer.head_dim);
  if (layer.kv_shared_from >= 0) return out;
  out.k = matrix(prefix + "self_attn.k_proj", kv_width, hidden);
  out.k_norm = vector(prefix + "self_attn.k_norm.weight", layer.head_dim);
  if (!layer.k_eq_v) out.v = matrix(prefix + "self_attn.v_proj", kv_width, hidden);
  return out;
}

void Loader::load_moe(int64_t index, const std::string& prefix, GemmaLayerWeights& out) {
  const int64_t hidden = config_.hidden_size;
  std::vector<float> scale = source_.floats(prefix + "router.scale", hidden);
  const float root = 1.0f / std::sqrt(static_cast<float>(hidden));
  for (float& value : scale) value *= root;
  MoeWeights& moe = out.moe;
  moe.router_scale = device_.upload(scale.data(), f32, {hidden});
  moe.router = matrix(prefix + "router.proj", config_.moe.num_experts, hidden);
  moe.expert_scale = vector(prefix + "router.per_expert_scale", config_.moe.num_experts);
  ExpertWeights experts = source_.experts(index);
  if (experts.is_fused()) {
    moe.experts.gate_up = prepared(std::move(experts.gate_up));
  } else {
    moe.experts.gate = prepared(std::move(experts.gate));
    moe.experts.up = prepared(std::move(experts.up));
  }
  moe.experts.down = prepared(std::move(experts.down));
  out.post_feedforward_norm_1 = vector(prefix + "post_feedforward_layernorm_1.weight", hidden);
  out.pre_feedforward_norm_2 = vector(prefix + "pre_feedforward_layernorm_2.weight", hidden);
  out.post_feedforward_norm_2 = vector(prefix + "post_feedforward_layernorm_2.weight", hidden);
}

GemmaLayerWeights Loader::load_layer(int64_t index) {
  const LayerConfig& layer = config_.layers[static_cast<size_t>(index)];
  const std::string prefix = "layers." + std::to_string(index) + ".";
  const int64_t hidden = config_.hidden_size;
  GemmaLayerWeights out;
  out.input_norm = vector(prefix + "input_layernorm.weight", hidden);
  out.attention = load_attention(prefix, layer);
  out.post_attention_norm = vector(prefix + "post_attention_layernorm.weight", hidden);
  out.pre_feedforward_norm = vector(prefix + "pre_feedforward_layernorm.weight", hidden);
  out.mlp.gate = matrix(prefix + "mlp.gate_proj", layer.intermediate_size, hidden);
  out.mlp.up = matrix(prefix + "mlp.up_proj", layer.intermediate_size, hidden);
  out.mlp.down = matrix(prefix + "mlp.down_proj", hidden, layer.intermediate_size);
  out.post_feedforward_norm = vector(prefix + "post_feedforward_layernorm.weight", hidden);
  if (config_.moe.num_experts > 0) load_moe(index, prefix, out);
  if (const int64_t size = config_.per_layer_input_size; size > 0) {
    out.per_layer_input_gate = matrix(prefix + "per_layer_input_gate", size, hidden);
    out.per_layer_projection = matrix(prefix + "per_layer_projection", hidden, size);
    out.post_per_layer_input_norm = vector(prefix + "post_per_layer_input_norm.weight", hidden);
  }
  if (config_.family == ModelFamily::kGemma4 && source_.has(prefix + "layer_scalar")) {
    out.layer_scalar = source_.floats(prefix + "layer_scalar", 1)[0];
  }
  return out;
}

GemmaWeights Loader::load() {
  report(0);
  GemmaWeights out;
  const int64_t hidden = config_.hidden_size;
  out.embed_tokens = matrix("embed_tokens", config_.vocab_size, hidden);
  const bool tied = config_.tie_word_embeddings || !source_.has("lm_head");
  out.lm_head = tied ? out.embed_tokens : matrix("lm_head", config_.vocab_size, hidden);
  out.norm = vector("norm.weight", hidden);
  if (const int64_t size = config_.per_layer_input_size; size > 0) {
    const int64_t width = config_.num_layers() * size;
    // Rows are looked up, never multiplied.
    out.embed_tokens_per_layer =
        source_.matrix("embed_tokens_per_layer", {config_.per_layer_input_vocab_size, width});
    out.per_layer_model_projection = matrix("per_layer_model_projection", width, hidden);
    out.per_layer_projection_norm = vector("per_layer_projection_norm.weight", size);
  }
  for (int64_t i = 0; i < config_.num_layers(); ++i) {
    report(i + 1);
    out.layers.push_back(load_layer(i));
  }
  if (options_.progress) options_.progress(1.0);
  return out;
}

class Counter {
 public:
  explicit Counter(DeviceKind kind) : kind_(kind) {}

  void add(const Weight& weight, bool may_be_prepared = true) {
    if (!weight.valid()) return;
    for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases}) add(*buffer);
    if (weight.packed) {
      bytes_.prepared += weight.packed.byte_len();
    } else if (may_be_prepared) {
      bytes_.prepared += ops::prepared_bytes(kind_, weight);
    }
  }
  void add(const Buffer& buffer) {
    if (!buffer) return;
    bytes_.stored += buffer.byte_len();
    const bool is_mapped = kind_ == DeviceKind::kCpu && !buffer.allocation()->writable;
    if (is_mapped) bytes_.mapped += buffer.byte_len();
  }
  const WeightBytes& bytes() const { return bytes_; }

 private:
  DeviceKind kind_;
  WeightBytes bytes_;
};

void count_layer(const GemmaLayerWeights& layer, Counter& counter) {
  const AttentionWeights& a = layer.attention;
  for (const Weight* weight :
       {&a.q, &a.k, &a.v, &a.o, &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down, &layer.moe.router,
        &layer.moe.experts.gate_up, &layer.moe.experts.gate, &layer.moe.experts.up,
        &layer.moe.experts.down, &layer.per_layer_input_gate, &layer.per_layer_projection}) {
    counter.add(*weight);
  }
  for (const Buffer* buffer :
       {&layer.input_norm, &a.q_norm, &a.k_norm, &layer.post_attention_norm,
        &layer.pre_feedforward_norm, &layer.post_feedforward_norm, &layer.post_feedforward_norm_1,
        &layer.pre_feedforward_norm_2, &layer.post_feedforward_norm_2,
        &layer.post_per_layer_input_norm, &layer.moe.router_scale, &layer.moe.expert_scale}) {
    counter.add(*buffer);
  }
}

}  // namespace

GemmaWeights load_weights(const Device& device, const ModelConfig& config, WeightSource& source,
                          const LoadOptions& options) {
  return Loader(device, config, source, options).load();
}

WeightBytes count_bytes(DeviceKind kind, const GemmaWeights& weights) {
  Counter counter(kind);
  counter.add(weights.embed_tokens);
  if (weights.lm_head.data.allocation() != weights.embed_tokens.data.allocation() ||
      weights.lm_head.data.byte_offset() != weights.embed_tokens.data.byte_offset()) {
    counter.add(weights.lm_head);
  }
  counter.add(weights.embed_tokens_per_layer, false);
  counter.add(weights.per_layer_model_projection);
  counter.add(weights.per_layer_projection_norm);
  counter.add(weights.norm);
  for (const GemmaLayerWeights& layer : weights.layers) count_layer(layer, counter);
  return counter.bytes();
}

}  // namespace mlxn::models
