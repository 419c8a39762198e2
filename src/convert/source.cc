// SPDX-License-Identifier: Apache-2.0
#include "convert/source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>
#include <string_view>

#include "checkpoint/fail.h"

namespace mlxn::convert {
namespace {

using checkpoint::NameKind;
using checkpoint::NameRow;
using checkpoint::NameScope;

enum class Need : uint8_t { kRequired, kOptional, kUnused };

constexpr std::array<std::string_view, 3> kPerLayerInputs = {
    "per_layer_input_gate", "per_layer_projection", "post_per_layer_input_norm.weight"};
constexpr std::array<std::string_view, 3> kPerLayerInputGlobals = {
    "embed_tokens_per_layer", "per_layer_model_projection", "per_layer_projection_norm.weight"};
constexpr std::array<std::string_view, 6> kMoe = {"router.proj",
                                                  "router.scale",
                                                  "router.per_expert_scale",
                                                  "post_feedforward_layernorm_1.weight",
                                                  "pre_feedforward_layernorm_2.weight",
                                                  "post_feedforward_layernorm_2.weight"};
constexpr std::array<std::string_view, 3> kKeysAndValues = {"self_attn.k_proj", "self_attn.v_proj",
                                                            "self_attn.k_norm.weight"};

template <size_t kCount>
bool is_one_of(std::string_view name, const std::array<std::string_view, kCount>& names) {
  for (std::string_view candidate : names) {
    if (candidate == name) return true;
  }
  return false;
}

Need need_of(const ModelConfig& config, std::string_view name) {
  if (name == "lm_head") return config.tie_word_embeddings ? Need::kUnused : Need::kRequired;
  if (name == "rope_freqs") return Need::kUnused;
  if (is_one_of(name, kPerLayerInputGlobals)) {
    return config.per_layer_input_size > 0 ? Need::kRequired : Need::kUnused;
  }
  return Need::kRequired;
}

Need need_of(const ModelConfig& config, const LayerConfig& layer, std::string_view name) {
  const bool has_experts = config.moe.num_experts > 0;
  if (is_one_of(name, kKeysAndValues) && layer.kv_shared_from >= 0) return Need::kUnused;
  if (name == "self_attn.v_proj" && layer.k_eq_v) return Need::kUnused;
  if (is_one_of(name, kPerLayerInputs)) {
    return config.per_layer_input_size > 0 ? Need::kRequired : Need::kUnused;
  }
  if (is_one_of(name, kMoe)) return has_experts ? Need::kRequired : Need::kUnused;
  if (name == "experts.down_proj") return has_experts ? Need::kRequired : Need::kUnused;
  if (name.starts_with("experts.")) return has_experts ? Need::kOptional : Need::kUnused;
  return name == "layer_scalar" ? Need::kOptional : Need::kRequired;
}

class Collector {
 public:
  explicit Collector(const CheckpointImpl& source) : source_(source) {}

  std::vector<SourceTensor> collect() {
    const ModelConfig& config = source_.config;
    const auto rows = checkpoint::name_rows(config.family);
    for (const NameRow& row : rows) {
      if (row.scope == NameScope::kModel) add(row, "", need_of(config, row.canonical));
    }
    for (int64_t i = 0; i < config.num_layers(); ++i) {
      const LayerConfig& layer = config.layers[static_cast<size_t>(i)];
      for (const NameRow& row : rows) {
        if (row.scope != NameScope::kLayer) continue;
        add(row, std::to_string(i), need_of(config, layer, row.canonical));
      }
      if (config.moe.num_experts > 0) require_experts(i);
    }
    return std::move(tensors_);
  }

 private:
  std::string canonical(const NameRow& row, const std::string& layer) const {
    return layer.empty() ? std::string(row.canonical)
                         : fmt::format("layers.{}.{}", layer, row.canonical);
  }

  [[noreturn]] void fail_missing(const std::string& name) const {
    checkpoint::fail(source_.tensors.error_kind(), source_.path,
                     "tensor " + checkpoint::in_quotes(name), "nothing",
                     fmt::format("one of: {}", fmt::join(source_.names->candidates(name), ", ")));
  }

  void add(const NameRow& row, const std::string& layer, Need need) {
    if (need == Need::kUnused) return;
    const std::string name = canonical(row, layer);
    std::string stored;
    if (row.kind == NameKind::kMatrix) {
      if (const auto module = source_.names->module(name)) stored = module->weight;
    } else {
      stored = source_.names->plain(name).value_or("");
    }
    if (!stored.empty()) {
      tensors_.push_back({&row, layer, stored, source_.tensors.find(stored)});
    } else if (need == Need::kRequired) {
      fail_missing(name);
    }
  }

  void require_experts(int64_t index) const {
    const std::string prefix = fmt::format("layers.{}.experts.", index);
    const auto has = [&](const char* name) {
      return source_.names->module(prefix + name).has_value();
    };
    if (!has("gate_up_proj") && !(has("gate_proj") && has("up_proj"))) {
      fail_missing(prefix + "gate_up_proj");
    }
  }

  const CheckpointImpl& source_;
  std::vector<SourceTensor> tensors_;
};

// Tensors that were not collected; scales and biases belong to their weight.
void note_unused(const CheckpointImpl& source, const std::vector<SourceTensor>& used,
                 std::vector<std::string>& notes) {
  std::set<std::string_view> names;
  for (const SourceTensor& tensor : used) names.insert(tensor.name);
  std::string first;
  size_t count = 0;
  for (const auto& [name, tensor] : source.tensors.all()) {
    if (names.count(name) != 0 || name == "rope_freqs.weight") continue;
    if (name.ends_with(".scales") || name.ends_with(".biases")) continue;
    if (count++ == 0) first = name;
  }
  if (count == 0) return;
  notes.push_back(fmt::format("left out {} tensor{} that the text decoder does not use: {}{}",
                              count, count == 1 ? "" : "s", checkpoint::in_quotes(first),
                              count == 1 ? "" : ", ..."));
}

}  // namespace

std::vector<SourceTensor> decoder_tensors(const CheckpointImpl& source,
                                          std::vector<std::string>& notes) {
  std::vector<SourceTensor> tensors = Collector(source).collect();
  note_unused(source, tensors, notes);
  return tensors;
}

}  // namespace mlxn::convert
