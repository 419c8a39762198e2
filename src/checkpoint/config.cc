// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "checkpoint/fail.h"

namespace mlxn {

std::string_view name(ModelFamily family) {
  return family == ModelFamily::kGemma3 ? "gemma3" : "gemma4";
}

std::string_view name(LayerType type) {
  return type == LayerType::kSliding ? "sliding_attention" : "full_attention";
}

std::string_view name(RopeKind kind) {
  switch (kind) {
    case RopeKind::kDefault:
      return "default";
    case RopeKind::kLinear:
      return "linear";
    case RopeKind::kProportional:
      return "proportional";
  }
  return "unknown";
}

std::vector<float> rope_divisors(const RopeConfig& rope, int64_t head_dim) {
  if (!rope.freq_factors.empty()) return rope.freq_factors;
  const int64_t pairs = head_dim / 2;
  const int64_t rotated = rope.kind == RopeKind::kProportional
                              ? static_cast<int64_t>(std::floor(rope.partial_rotary_factor *
                                                                static_cast<double>(head_dim) / 2))
                              : pairs;
  const float factor = rope.kind == RopeKind::kDefault ? 1.0f : static_cast<float>(rope.factor);
  if (rotated >= pairs && factor == 1.0f) return {};
  std::vector<float> divisors(static_cast<size_t>(pairs), std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < rotated && i < pairs; ++i) divisors[static_cast<size_t>(i)] = factor;
  return divisors;
}

}  // namespace mlxn

namespace mlxn::checkpoint {
namespace {

class Checker {
 public:
  Checker(const ModelConfig& config, const std::string& where) : c_(config), where_(where) {}

  void check() const {
    range("vocab_size", c_.vocab_size, 1, kMaxVocab);
    range("hidden_size", c_.hidden_size, 1, kMaxWidth);
    range("num_attention_heads", c_.num_heads, 1, kMaxHeads);
    range("num_hidden_layers", c_.num_layers(), 1, kMaxLayers);
    range("max_position_embeddings", c_.max_position_embeddings, 1, kMaxPositions);
    positive("rms_norm_eps", c_.rms_norm_eps);
    positive("attention scale", c_.softmax_scale);
    not_negative("final_logit_softcapping", c_.final_logits_soft_cap);
    not_negative("attn_logit_softcapping", c_.attn_logits_soft_cap);
    for (int64_t i = 0; i < c_.num_layers(); ++i) check_layer(i);
    check_rope(LayerType::kSliding);
    check_rope(LayerType::kFull);
    if (c_.per_layer_input_size != 0) {
      range("hidden_size_per_layer_input", c_.per_layer_input_size, 1, kMaxWidth);
      range("vocab_size_per_layer_input", c_.per_layer_input_vocab_size, 1, kMaxVocab);
    }
    if (c_.moe.num_experts != 0) {
      range("num_experts", c_.moe.num_experts, 1, kMaxExperts);
      range("top_k_experts", c_.moe.top_k, 1, std::min(c_.moe.num_experts, kMaxSelectedExperts));
      range("moe_intermediate_size", c_.moe.intermediate_size, 1, kMaxWidth);
    }
    check_ids();
    check_sampling();
  }

 private:
  [[noreturn]] void reject(std::string field, std::string found, std::string required) const {
    fail(ErrorKind::kConfig, where_, std::move(field), std::move(found), std::move(required));
  }

  void range(const std::string& field, int64_t value, int64_t min, int64_t max) const {
    if (value < min || value > max) {
      reject(field, std::to_string(value), fmt::format("{} to {}", min, max));
    }
  }
  void positive(const std::string& field, double value) const {
    // Kernels take these as f32.
    if (!(static_cast<float>(value) > 0) || !std::isfinite(static_cast<float>(value))) {
      reject(field, fmt::format("{}", value), "over 0, in the range of f32");
    }
  }
  void not_negative(const std::string& field, double value) const {
    if (!(value >= 0) || !std::isfinite(static_cast<float>(value))) {
      reject(field, fmt::format("{}", value), "0 or more, in the range of f32");
    }
  }

  void check_layer(int64_t index) const {
    const LayerConfig& layer = c_.layers[static_cast<size_t>(index)];
    const std::string in = fmt::format(" of layer {}", index);
    range("head_dim" + in, layer.head_dim, 8, kMaxHeadDim);
    if (layer.head_dim % 8 != 0) {
      reject("head_dim" + in, std::to_string(layer.head_dim), "a multiple of 8");
    }
    range("num_key_value_heads" + in, layer.num_kv_heads, 1, kMaxHeads);
    if (c_.num_heads % layer.num_kv_heads != 0) {
      reject("num_key_value_heads" + in, std::to_string(layer.num_kv_heads),
             fmt::format("a divisor of num_attention_heads {}", c_.num_heads));
    }
    range("intermediate_size" + in, layer.intermediate_size, 1, kMaxWidth);
    if (layer.type == LayerType::kSliding) {
      range("sliding_window", c_.window_size, 1, kMaxPositions);
    }
    if (layer.kv_shared_from < 0) return;
    const LayerConfig& source = c_.layers.at(static_cast<size_t>(layer.kv_shared_from));
    if (source.head_dim != layer.head_dim || source.num_kv_heads != layer.num_kv_heads) {
      reject(
          "num_kv_shared_layers",
          fmt::format("layer {} with {} KV heads of {}", index, layer.num_kv_heads, layer.head_dim),
          fmt::format("{} of {}, as in layer {} whose KV it uses", source.num_kv_heads,
                      source.head_dim, layer.kv_shared_from));
    }
  }

  void check_rope(LayerType type) const {
    const RopeConfig& rope = c_.rope(type);
    const std::string in = fmt::format("rope_parameters.{}.", name(type));
    positive(in + "rope_theta", rope.theta);
    positive(in + "factor", rope.factor);
    positive(in + "partial_rotary_factor", rope.partial_rotary_factor);
    if (rope.partial_rotary_factor > 1) {
      reject(in + "partial_rotary_factor", fmt::format("{}", rope.partial_rotary_factor),
             "1 at most");
    }
    if (rope.freq_factors.empty()) return;
    for (const LayerConfig& layer : c_.layers) {
      const auto pairs = static_cast<size_t>(layer.head_dim / 2);
      if (layer.type == type && rope.freq_factors.size() != pairs) {
        reject("rope_freqs", fmt::format("{} values", rope.freq_factors.size()),
               fmt::format("{}, half the head dim", pairs));
      }
    }
    for (float divisor : rope.freq_factors) {
      if (!(divisor > 0)) reject("rope_freqs", fmt::format("{}", divisor), "values over 0");
    }
  }

  void check_id(const char* field, int64_t id) const { range(field, id, 0, c_.vocab_size - 1); }
  void check_ids() const {
    for (int64_t id : c_.eos_token_ids) check_id("eos_token_id", id);
    for (int64_t id : c_.suppress_tokens) check_id("suppress_tokens", id);
    if (c_.bos_token_id) check_id("bos_token_id", *c_.bos_token_id);
    if (c_.pad_token_id) check_id("pad_token_id", *c_.pad_token_id);
  }

  void check_sampling() const {
    const SamplingDefaults& s = c_.sampling;
    if (s.temperature) not_negative("temperature", *s.temperature);
    if (s.top_k) range("top_k", *s.top_k, 0, kMaxVocab);
    if (s.top_p && !(*s.top_p > 0 && *s.top_p <= 1)) {
      reject("top_p", fmt::format("{}", *s.top_p), "over 0, at most 1");
    }
  }

  const ModelConfig& c_;
  const std::string& where_;
};

}  // namespace

void check_config(const ModelConfig& config, const std::string& where) {
  Checker(config, where).check();
}

void share_kv_layers(ModelConfig& config, int64_t count, const std::string& where) {
  const int64_t layers = config.num_layers();
  if (count < 0 || count >= layers) {
    fail(ErrorKind::kConfig, where, "num_kv_shared_layers", std::to_string(count),
         fmt::format("0 to {}", layers - 1));
  }
  const int64_t first_shared = layers - count;
  for (int64_t i = first_shared; i < layers; ++i) {
    LayerConfig& layer = config.layers[static_cast<size_t>(i)];
    int64_t source = first_shared - 1;
    while (source >= 0 && config.layers[static_cast<size_t>(source)].type != layer.type) --source;
    if (source < 0) {
      fail(ErrorKind::kConfig, where, "num_kv_shared_layers", std::to_string(count),
           fmt::format("a value that leaves a {} layer in front of layer {}", name(layer.type),
                       first_shared));
    }
    layer.kv_shared_from = source;
  }
}

void set_float_dtype(ModelConfig& config, DType dtype) {
  config.float_dtype = dtype;
  const float scale = static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)));
  config.embedding_scale = dtype == DType::kBF16  ? to_float(to_bf16(scale))
                           : dtype == DType::kF16 ? to_float(to_f16(scale))
                                                  : scale;
}

std::string supported_models() { return "gemma3 or gemma4 (text decoders)"; }

}  // namespace mlxn::checkpoint
