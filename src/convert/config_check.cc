// SPDX-License-Identifier: Apache-2.0
#include "convert/config_check.h"

#include <fmt/format.h>

#include <cmath>

#include "checkpoint/fail.h"

namespace mlxn::convert {
namespace {

// GGUF holds numbers as f32 and says "not rotated" by a large divisor.
constexpr double kF32Step = 1e-6;
constexpr float kNotRotated = 1e29f;

class Comparison {
 public:
  Comparison(const ModelConfig& source, const ModelConfig& written, const char* what)
      : a_(source), b_(written), what_(what) {}

  void check() const {
    same("model family", static_cast<int64_t>(a_.family), static_cast<int64_t>(b_.family));
    same("vocab_size", a_.vocab_size, b_.vocab_size);
    same("hidden_size", a_.hidden_size, b_.hidden_size);
    same("num_attention_heads", a_.num_heads, b_.num_heads);
    same("num_hidden_layers", a_.num_layers(), b_.num_layers());
    same("sliding_window", a_.window_size, b_.window_size);
    same("max_position_embeddings", a_.max_position_embeddings, b_.max_position_embeddings);
    near("rms_norm_eps", a_.rms_norm_eps, b_.rms_norm_eps);
    near("attention scale", a_.softmax_scale, b_.softmax_scale);
    near("attn_logit_softcapping", a_.attn_logits_soft_cap, b_.attn_logits_soft_cap);
    near("final_logit_softcapping", a_.final_logits_soft_cap, b_.final_logits_soft_cap);
    same("tie_word_embeddings", a_.tie_word_embeddings, b_.tie_word_embeddings);
    same("hidden_size_per_layer_input", a_.per_layer_input_size, b_.per_layer_input_size);
    same("vocab_size_per_layer_input", a_.per_layer_input_vocab_size,
         b_.per_layer_input_vocab_size);
    same("num_experts", a_.moe.num_experts, b_.moe.num_experts);
    same("top_k_experts", a_.moe.top_k, b_.moe.top_k);
    same("moe_intermediate_size", a_.moe.intermediate_size, b_.moe.intermediate_size);
    for (size_t i = 0; i < a_.layers.size(); ++i) check_layer(i);
  }

 private:
  [[noreturn]] void differ(const std::string& field, std::string source,
                           std::string written) const {
    checkpoint::fail(ErrorKind::kConfig, "quantize", field, std::move(source),
                     fmt::format("{}, all that the written {} can say", written, what_));
  }
  void same(const std::string& field, int64_t a, int64_t b) const {
    if (a != b) differ(field, std::to_string(a), std::to_string(b));
  }
  void near(const std::string& field, double a, double b) const {
    if (std::fabs(a - b) > kF32Step * std::fabs(a)) {
      differ(field, fmt::format("{}", a), fmt::format("{}", b));
    }
  }

  void check_layer(size_t index) const {
    const LayerConfig &a = a_.layers[index], &b = b_.layers[index];
    const std::string in = fmt::format(" of layer {}", index);
    if (a.type != b.type) {
      differ("layer_types" + in, std::string(name(a.type)), std::string(name(b.type)));
    }
    same("head_dim" + in, a.head_dim, b.head_dim);
    same("num_key_value_heads" + in, a.num_kv_heads, b.num_kv_heads);
    same("intermediate_size" + in, a.intermediate_size, b.intermediate_size);
    same("num_kv_shared_layers" + in, a.kv_shared_from, b.kv_shared_from);
    if (a.kv_shared_from < 0) same("attention_k_eq_v" + in, a.k_eq_v, b.k_eq_v);
    check_rope(in, a);
  }

  void check_rope(const std::string& in, const LayerConfig& layer) const {
    const RopeConfig &a = a_.rope(layer.type), &b = b_.rope(layer.type);
    near("rope_theta" + in, a.theta, b.theta);
    const auto pairs = static_cast<size_t>(layer.head_dim / 2);
    auto x = rope_divisors(a, layer.head_dim), y = rope_divisors(b, layer.head_dim);
    x.resize(pairs, x.empty() ? 1.0f : 0.0f);
    y.resize(pairs, y.empty() ? 1.0f : 0.0f);
    for (size_t i = 0; i < pairs; ++i) {
      if (x[i] >= kNotRotated && y[i] >= kNotRotated) continue;
      near(fmt::format("rope divisor {}{}", i, in), x[i], y[i]);
    }
  }

  const ModelConfig& a_;
  const ModelConfig& b_;
  const char* what_;
};

}  // namespace

void check_same_model(const ModelConfig& source, const ModelConfig& written, const char* what) {
  Comparison(source, written, what).check();
}

}  // namespace mlxn::convert
