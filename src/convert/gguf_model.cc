// SPDX-License-Identifier: Apache-2.0
#include "convert/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace mlxn::convert {
namespace {

constexpr int64_t kQuantizationVersion = 2;
constexpr float kNotRotated = 1e30f;

// general.file_type, by the name of the format.
struct FileType {
  std::string_view format;
  int64_t id;
};
constexpr std::array<FileType, 16> kFileTypes = {{{"f32", 0},
                                                  {"f16", 1},
                                                  {"q4_0", 2},
                                                  {"q4_1", 3},
                                                  {"q8_0", 7},
                                                  {"q5_0", 8},
                                                  {"q5_1", 9},
                                                  {"q2_k", 10},
                                                  {"q3_k", 11},
                                                  {"q4_k", 14},
                                                  {"q5_k", 16},
                                                  {"q6_k", 18},
                                                  {"iq4_nl", 25},
                                                  {"iq4_xs", 30},
                                                  {"bf16", 32},
                                                  {"mxfp4", 38}}};

class Writer {
 public:
  Writer(const ModelConfig& model, GgufMetadata& out)
      : m_(model), out_(out), prefix_(std::string(name(model.family)) + ".") {}

  void write() {
    write_common();
    if (m_.family == ModelFamily::kGemma3) {
      write_gemma3();
    } else {
      write_gemma4();
    }
  }

 private:
  void u32(const char* key, int64_t value) { out_.u32(prefix_ + key, value); }
  void f32(const char* key, double value) { out_.f32(prefix_ + key, value); }

  // One number if every layer has the same.
  void per_layer(const char* key, int64_t LayerConfig::*field) {
    std::vector<int64_t> values;
    for (const LayerConfig& layer : m_.layers) values.push_back(layer.*field);
    const bool is_uniform = std::all_of(values.begin(), values.end(),
                                        [&](int64_t value) { return value == values[0]; });
    if (is_uniform) {
      u32(key, values[0]);
    } else {
      out_.i32s(prefix_ + key, values);
    }
  }

  int64_t head_dim(LayerType type) const {
    for (const LayerConfig& layer : m_.layers) {
      if (layer.type == type) return layer.head_dim;
    }
    return m_.layers[0].head_dim;
  }

  void write_common() {
    u32("block_count", m_.num_layers());
    u32("context_length", m_.max_position_embeddings);
    u32("embedding_length", m_.hidden_size);
    u32("attention.head_count", m_.num_heads);
    per_layer("feed_forward_length", &LayerConfig::intermediate_size);
    per_layer("attention.head_count_kv", &LayerConfig::num_kv_heads);
    u32("vocab_size", m_.vocab_size);
    f32("attention.layer_norm_rms_epsilon", m_.rms_norm_eps);
    u32("attention.sliding_window", m_.window_size);
    const int64_t full = head_dim(LayerType::kFull);
    u32("attention.key_length", full);
    u32("attention.value_length", full);
    f32("rope.freq_base", m_.rope_full.theta);
    f32("rope.freq_base_swa", m_.rope_sliding.theta);
    if (m_.final_logits_soft_cap > 0) f32("final_logit_softcapping", m_.final_logits_soft_cap);
    if (m_.attn_logits_soft_cap > 0) f32("attn_logit_softcapping", m_.attn_logits_soft_cap);
  }

  void write_gemma3() {
    if (m_.rope_full.kind != RopeKind::kLinear) return;
    out_.text(prefix_ + "rope.scaling.type", "linear");
    f32("rope.scaling.factor", m_.rope_full.factor);
  }

  void write_gemma4() {
    std::vector<bool> is_sliding;
    int64_t shared = 0;
    for (const LayerConfig& layer : m_.layers) {
      is_sliding.push_back(layer.type == LayerType::kSliding);
      shared += layer.kv_shared_from >= 0 ? 1 : 0;
    }
    out_.booleans(prefix_ + "attention.sliding_window_pattern", is_sliding);
    u32("attention.shared_kv_layers", shared);
    const int64_t sliding = head_dim(LayerType::kSliding);
    u32("attention.key_length_swa", sliding);
    u32("attention.value_length_swa", sliding);
    u32("rope.dimension_count", head_dim(LayerType::kFull));
    u32("rope.dimension_count_swa", sliding);
    u32("embedding_length_per_layer_input", m_.per_layer_input_size);
    if (m_.moe.num_experts == 0) return;
    u32("expert_count", m_.moe.num_experts);
    u32("expert_used_count", m_.moe.top_k);
    u32("expert_feed_forward_length", m_.moe.intermediate_size);
  }

  const ModelConfig& m_;
  GgufMetadata& out_;
  std::string prefix_;
};

}  // namespace

void add_model(const ModelConfig& model, const std::string& name, GgufMetadata& out) {
  out.text("general.architecture", mlxn::name(model.family));
  out.text("general.type", "model");
  if (!name.empty()) out.text("general.name", name);
  const SamplingDefaults& sampling = model.sampling;
  if (sampling.temperature) out.f32("general.sampling.temp", *sampling.temperature);
  if (sampling.top_k) out.u32("general.sampling.top_k", *sampling.top_k);
  if (sampling.top_p) out.f32("general.sampling.top_p", *sampling.top_p);
  Writer(model, out).write();
}

void add_file_type(Format format, GgufMetadata& out) {
  for (const FileType& type : kFileTypes) {
    if (type.format == name(format)) out.u32("general.file_type", type.id);
  }
  out.u32("general.quantization_version", kQuantizationVersion);
}

void copy_metadata(const checkpoint::GgufFile& source, GgufMetadata& out) {
  for (const checkpoint::GgufValue& value : source.parts()[0].header.metadata) {
    const bool is_ours = value.key == "general.file_type" || value.key == "general.alignment" ||
                         value.key == "general.quantization_version" ||
                         value.key.starts_with("split.");
    if (!is_ours) out.copy(value);
  }
}

std::vector<float> rope_freqs(const ModelConfig& model) {
  int64_t head_dim = model.layers[0].head_dim;
  for (const LayerConfig& layer : model.layers) {
    if (layer.type == LayerType::kFull) head_dim = layer.head_dim;
  }
  std::vector<float> divisors = rope_divisors(model.rope_full, head_dim);
  if (divisors.empty()) divisors.assign(static_cast<size_t>(head_dim / 2), 1.0f);
  for (float& divisor : divisors) divisor = std::min(divisor, kNotRotated);
  return divisors;
}

}  // namespace mlxn::convert
