// SPDX-License-Identifier: Apache-2.0
// config.json and generation_config.json of the Gemma family. Absent keys get transformers'
// defaults.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "checkpoint/config.h"
#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();

// A wrapper nests the decoder under text_config; then both are the same object otherwise.
struct Levels {
  Json outer;
  Json text;

  Json operator[](std::string_view key) const { return text[key]; }
  // For keys that may stand at either level; the inner one wins.
  Json either(std::string_view key) const {
    const Json inner = text[key];
    return inner.present() ? inner : outer[key];
  }
};

struct ModelTypeRow {
  std::string_view name;
  ModelFamily family;
  bool is_wrapper;
};
constexpr std::array<ModelTypeRow, 6> kModelTypes = {{
    {"gemma3", ModelFamily::kGemma3, true},
    {"gemma3_text", ModelFamily::kGemma3, false},
    {"gemma4", ModelFamily::kGemma4, true},
    {"gemma4_text", ModelFamily::kGemma4, false},
    {"gemma4_unified", ModelFamily::kGemma4, true},
    {"gemma4_unified_text", ModelFamily::kGemma4, false},
}};

const ModelTypeRow& find_model_type(const Json& value) {
  const std::string type = value.text().value_or("");
  for (const ModelTypeRow& row : kModelTypes) {
    if (row.name == type) return row;
  }
  value.fail(supported_models());
}

int64_t integer_or(const Json& value, int64_t fallback, int64_t min, int64_t max) {
  return value.integer(min, max).value_or(fallback);
}

int64_t required_integer(const Levels& levels, std::string_view key, int64_t min, int64_t max) {
  const Json value = levels[key];
  if (!value.has_value()) value.fail(fmt::format("an integer from {} to {}", min, max));
  return *value.integer(min, max);
}

void require_false(const Json& value) {
  if (value.boolean().value_or(false)) value.fail("false");
}

// Default pattern: layer i is full iff (i + 1) % period == 0.
std::vector<LayerType> read_layer_types(const Levels& levels, int64_t layers, int64_t period) {
  std::vector<LayerType> types;
  const Json list = levels["layer_types"];
  if (!list.has_value()) {
    for (int64_t i = 0; i < layers; ++i) {
      types.push_back((i + 1) % period == 0 ? LayerType::kFull : LayerType::kSliding);
    }
    return types;
  }
  for (const Json& item : list.items()) {
    const auto text = item.text();
    if (text == name(LayerType::kSliding)) {
      types.push_back(LayerType::kSliding);
    } else if (text == name(LayerType::kFull)) {
      types.push_back(LayerType::kFull);
    } else {
      item.fail("\"sliding_attention\" or \"full_attention\"");
    }
  }
  if (static_cast<int64_t>(types.size()) != layers) {
    fail(ErrorKind::kConfig, list.where(), list.path(), fmt::format("{} entries", types.size()),
         fmt::format("{}, one per layer", layers));
  }
  return types;
}

// One rope dict; `rope` comes with the defaults for keys that it lacks.
void read_rope(const Json& dict, RopeConfig& rope) {
  if (!dict.has_value()) return;
  Json type = dict["rope_type"];
  if (!type.present()) type = dict["type"];
  const std::string text = type.text().value_or("default");
  if (text == "default") {
    rope.kind = RopeKind::kDefault;
  } else if (text == "linear") {
    rope.kind = RopeKind::kLinear;
  } else if (text == "proportional") {
    rope.kind = RopeKind::kProportional;
  } else {
    type.fail("\"default\", \"linear\" or \"proportional\"");
  }
  rope.theta = dict["rope_theta"].number().value_or(rope.theta);
  rope.factor = dict["factor"].number().value_or(1.0);
  const Json partial = dict["partial_rotary_factor"];
  rope.partial_rotary_factor = partial.number().value_or(1.0);
  if (rope.kind != RopeKind::kProportional && rope.partial_rotary_factor != 1.0) {
    partial.fail("1 for rope_type " + text);
  }
}

void read_rope_parameters(const Levels& levels, ModelConfig& config) {
  const Json parameters = levels["rope_parameters"];
  if (!parameters.has_value()) return;
  const Json full = parameters[name(LayerType::kFull)];
  const Json sliding = parameters[name(LayerType::kSliding)];
  if (full.present() || sliding.present()) {
    read_rope(full, config.rope_full);
    read_rope(sliding, config.rope_sliding);
  } else {
    read_rope(parameters, config.rope_full);  // flat: what rope_scaling used to say
  }
}

void read_common(const Levels& levels, ModelConfig& config) {
  Json activation = levels["hidden_activation"];
  if (!activation.has_value()) activation = levels["hidden_act"];
  if (activation.has_value() && activation.text() != "gelu_pytorch_tanh") {
    activation.fail("\"gelu_pytorch_tanh\"");
  }
  require_false(levels["attention_bias"]);
  config.hidden_size = integer_or(levels["hidden_size"], 2304, 1, kMaxWidth);
  config.num_heads = integer_or(levels["num_attention_heads"], 8, 1, kMaxHeads);
  config.rms_norm_eps = levels["rms_norm_eps"].number().value_or(1e-6);
  config.max_position_embeddings =
      integer_or(levels["max_position_embeddings"], 131072, 1, kMaxPositions);
  config.final_logits_soft_cap = levels["final_logit_softcapping"].number().value_or(0.0);
  config.tie_word_embeddings = levels.either("tie_word_embeddings").boolean().value_or(true);
}

void set_layers(ModelConfig& config, const std::vector<LayerType>& types, int64_t head_dim,
                int64_t kv_heads, int64_t intermediate_size) {
  for (LayerType type : types) {
    LayerConfig layer;
    layer.type = type;
    layer.head_dim = head_dim;
    layer.num_kv_heads = kv_heads;
    layer.intermediate_size = intermediate_size;
    config.layers.push_back(layer);
  }
}

// Map from layer index to overrides; it replaces the global_* keys when present.
void read_per_layer_config(const Json& map, ModelConfig& config) {
  for (const auto& [key, overrides] : map.members()) {
    int64_t index = -1;
    const bool digits =
        !key.empty() && key.size() <= 4 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (digits) index = std::stoll(std::string(key));
    if (index < 0 || index >= config.num_layers()) {
      fail(ErrorKind::kConfig, map.where(), map.path(), "key " + in_quotes(key),
           fmt::format("layer indices 0 to {}", config.num_layers() - 1));
    }
    LayerConfig& layer = config.layers[static_cast<size_t>(index)];
    for (const auto& [field, value] : overrides.members()) {
      if (field == "head_dim") {
        layer.head_dim = integer_or(value, layer.head_dim, 1, kMaxHeadDim);
      } else if (field == "num_key_value_heads") {
        layer.num_kv_heads = integer_or(value, layer.num_kv_heads, 1, kMaxHeads);
      } else {
        value.fail("only head_dim and num_key_value_heads in per_layer_config");
      }
    }
  }
}

void read_full_layer_overrides(const Levels& levels, bool k_eq_v, ModelConfig& config) {
  const Json head_dim = levels["global_head_dim"];
  const int64_t full_head_dim =
      head_dim.present() ? integer_or(head_dim, 0, 0, kMaxHeadDim) : kMaxHeadDim;
  const auto full_kv_heads = levels["num_global_key_value_heads"].integer(1, kMaxHeads);
  for (LayerConfig& layer : config.layers) {
    if (layer.type != LayerType::kFull) continue;
    if (full_head_dim != 0) layer.head_dim = full_head_dim;
    if (k_eq_v && full_kv_heads) layer.num_kv_heads = *full_kv_heads;
  }
}

void read_gemma4(const Levels& levels, ModelConfig& config) {
  const std::string where = levels.outer.where();
  config.vocab_size = integer_or(levels.either("vocab_size"), 262144, 1, kMaxVocab);
  const int64_t num_layers = integer_or(levels["num_hidden_layers"], 30, 1, kMaxLayers);
  std::vector<LayerType> types = read_layer_types(levels, num_layers, 6);
  types.back() = LayerType::kFull;
  const int64_t intermediate = integer_or(levels["intermediate_size"], 9216, 1, kMaxWidth);
  set_layers(config, types, integer_or(levels["head_dim"], 256, 1, kMaxHeadDim),
             integer_or(levels["num_key_value_heads"], 4, 1, kMaxHeads), intermediate);
  config.window_size = integer_or(levels["sliding_window"], 512, 1, kMaxInt);
  config.softmax_scale = 1.0;
  const Json bidirectional = levels["use_bidirectional_attention"];
  if (bidirectional.has_value() && bidirectional.text() != "vision") {
    bidirectional.fail("null or \"vision\": generation needs a causal mask");
  }

  const bool k_eq_v = levels["attention_k_eq_v"].boolean().value_or(false);
  const Json per_layer = levels["per_layer_config"];
  if (per_layer.has_value()) {
    read_per_layer_config(per_layer, config);
  } else {
    read_full_layer_overrides(levels, k_eq_v, config);
  }
  for (LayerConfig& layer : config.layers) layer.k_eq_v = k_eq_v && layer.type == LayerType::kFull;

  const int64_t shared = integer_or(levels["num_kv_shared_layers"], 0, 0, kMaxInt);
  share_kv_layers(config, shared, where);
  if (levels["use_double_wide_mlp"].boolean().value_or(false)) {
    for (LayerConfig& layer : config.layers) {
      if (layer.kv_shared_from >= 0) layer.intermediate_size = 2 * intermediate;
    }
  }

  config.rope_full = {RopeKind::kProportional, 1e6, 1.0, 0.25, {}};
  config.rope_sliding = {RopeKind::kDefault, 1e4, 1.0, 1.0, {}};
  read_rope_parameters(levels, config);

  config.per_layer_input_size =
      integer_or(levels["hidden_size_per_layer_input"], 256, 0, kMaxWidth);
  if (config.per_layer_input_size > 0) {
    config.per_layer_input_vocab_size =
        integer_or(levels["vocab_size_per_layer_input"], 262144, 1, kMaxVocab);
  }
  if (levels["enable_moe_block"].boolean().value_or(false)) {
    config.moe.num_experts = required_integer(levels, "num_experts", 1, kMaxExperts);
    config.moe.top_k = required_integer(levels, "top_k_experts", 1, config.moe.num_experts);
    config.moe.intermediate_size = required_integer(levels, "moe_intermediate_size", 1, kMaxWidth);
  }
}

void read_gemma3(const Levels& levels, ModelConfig& config) {
  config.vocab_size = integer_or(levels.either("vocab_size"), 262208, 1, kMaxVocab);
  const int64_t num_layers = integer_or(levels["num_hidden_layers"], 26, 1, kMaxLayers);
  Json period = levels["sliding_window_pattern"];
  if (!period.has_value()) period = levels["_sliding_window_pattern"];
  set_layers(config, read_layer_types(levels, num_layers, integer_or(period, 6, 1, kMaxLayers)),
             integer_or(levels["head_dim"], 256, 1, kMaxHeadDim),
             integer_or(levels["num_key_value_heads"], 4, 1, kMaxHeads),
             integer_or(levels["intermediate_size"], 9216, 1, kMaxWidth));
  const Json window = levels["sliding_window"];
  config.window_size = window.present() ? integer_or(window, 0, 1, kMaxInt) : 4096;
  require_false(levels["use_bidirectional_attention"]);
  const Json scalar = levels["query_pre_attn_scalar"];
  const double pre_attention = scalar.number().value_or(256.0);
  if (!(pre_attention > 0)) scalar.fail("a number over 0");
  config.softmax_scale = 1.0 / std::sqrt(pre_attention);
  config.attn_logits_soft_cap = levels["attn_logit_softcapping"].number().value_or(0.0);
  config.norm_weight_offset = 1.0f;

  config.rope_full.theta = levels["rope_theta"].number().value_or(1e6);
  config.rope_sliding.theta = levels["rope_local_base_freq"].number().value_or(1e4);
  read_rope(levels["rope_scaling"], config.rope_full);
  read_rope_parameters(levels, config);
}

// An id, a list of ids, or nothing.
void collect_ids(const Json& value, int64_t vocab_size, std::set<int64_t>& ids) {
  if (value.is_array()) {
    for (const Json& item : value.items()) {
      if (const auto id = item.integer(0, vocab_size - 1)) ids.insert(*id);
    }
  } else if (const auto id = value.integer(0, vocab_size - 1)) {
    ids.insert(*id);
  }
}

// -1 is how some writers say "none".
std::optional<int64_t> single_id(const Json& value, int64_t fallback) {
  if (!value.present()) return fallback;
  const auto id = value.integer(-1, kMaxVocab);
  return id && *id >= 0 ? id : std::nullopt;
}

void read_tokens(const Levels& levels, const Json& generation, ModelConfig& config) {
  std::set<int64_t> eos;
  bool named = false;
  for (const Json& source : {levels.outer, levels.text, generation}) {
    const Json value = source["eos_token_id"];
    named = named || value.present();
    collect_ids(value, config.vocab_size, eos);
  }
  if (!named) eos.insert(1);
  config.eos_token_ids.assign(eos.begin(), eos.end());
  config.bos_token_id = single_id(levels.either("bos_token_id"), 2);
  config.pad_token_id = single_id(levels.either("pad_token_id"), 0);
  std::set<int64_t> suppressed;
  collect_ids(generation["suppress_tokens"], config.vocab_size, suppressed);
  config.suppress_tokens.assign(suppressed.begin(), suppressed.end());
}

void read_sampling(const Json& generation, SamplingDefaults& sampling) {
  sampling.temperature = generation["temperature"].number();
  if (sampling.temperature && *sampling.temperature < 0) {
    generation["temperature"].fail("0 or more");
  }
  sampling.top_k = generation["top_k"].integer(0, kMaxVocab);
  sampling.top_p = generation["top_p"].number();
  if (sampling.top_p && !(*sampling.top_p > 0 && *sampling.top_p <= 1)) {
    generation["top_p"].fail("over 0, at most 1");
  }
  if (generation["do_sample"].boolean() == false) sampling.temperature = 0.0;
}

DType read_dtype(const Levels& levels) {
  for (std::string_view key : {"dtype", "torch_dtype"}) {
    const std::string text = levels.either(key).text().value_or("");
    if (text == "bfloat16") return DType::kBF16;
    if (text == "float16") return DType::kF16;
  }
  return DType::kF32;
}

}  // namespace

ModelConfig config_from_json(const Json& config, const Json& generation) {
  if (!config.is_object()) config.fail("an object");
  const ModelTypeRow& type = find_model_type(config["model_type"]);
  Levels levels{config, config};
  if (type.is_wrapper) {
    levels.text = config["text_config"];
    if (!levels.text.is_object()) levels.text.fail("an object");
    const Json inner = levels.text["model_type"];
    if (inner.has_value() && find_model_type(inner).family != type.family) {
      inner.fail("a text model of the " + std::string(type.name) + " family");
    }
  }
  ModelConfig result;
  result.family = type.family;
  result.model_type = type.name;
  read_common(levels, result);
  if (type.family == ModelFamily::kGemma4) {
    read_gemma4(levels, result);
  } else {
    read_gemma3(levels, result);
  }
  read_tokens(levels, generation, result);
  if (generation.has_value()) read_sampling(generation, result.sampling);
  check_config(result, config.where());
  set_float_dtype(result, read_dtype(levels));
  return result;
}

}  // namespace mlxn::checkpoint
