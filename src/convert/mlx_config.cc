// SPDX-License-Identifier: Apache-2.0
#include "convert/mlx_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/fail.h"

namespace mlxn::convert {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 1;

[[noreturn]] void reject(std::string field, std::string found, std::string required) {
  checkpoint::fail(ErrorKind::kConfig, "quantize", std::move(field), std::move(found),
                   std::move(required));
}

std::string dump(const Json& json) {
  // Whatever is not UTF-8 came from GGUF strings and would make the file unreadable.
  return json.dump(kIndent, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json quantization_section(const std::vector<PlannedTensor>& tensors, const Encoding& file_level) {
  Json section = {{"group_size", file_level.group_size},
                  {"bits", file_level.bits},
                  {"mode", mode_name(file_level.format)}};
  for (const PlannedTensor& tensor : tensors) {
    const Encoding& e = tensor.encoding;
    if (!e.is_mlx()) continue;
    const bool is_file_level = e.format == file_level.format && e.bits == file_level.bits &&
                               e.group_size == file_level.group_size;
    if (is_file_level) continue;
    section[tensor.name] = {{"group_size", e.group_size}, {"bits", e.bits}};
    if (!e.is_affine()) section[tensor.name]["mode"] = mode_name(e.format);
  }
  return section;
}

const PlannedTensor* first_quantised(const std::vector<PlannedTensor>& tensors) {
  for (const PlannedTensor& tensor : tensors) {
    if (tensor.encoding.is_mlx()) return &tensor;
  }
  return nullptr;
}

Json ids_or_null(const std::vector<int64_t>& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? Json(ids[0]) : Json(ids);
}

Json id_or_null(const std::optional<int64_t>& id) { return id ? Json(*id) : Json(nullptr); }
Json cap_or_null(double cap) { return cap > 0 ? Json(cap) : Json(nullptr); }

const char* dtype_name(DType dtype) {
  return dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
}

// f32 values print with the digits that name them, not with those of their f64 neighbour.
double short_number(double value) {
  return std::stod(fmt::format("{}", static_cast<float>(value)));
}

class Writer {
 public:
  explicit Writer(const ModelConfig& model) : m_(model) {}

  Json write() {
    write_common();
    if (m_.family == ModelFamily::kGemma3) {
      write_gemma3();
    } else {
      write_gemma4();
    }
    j_["tie_word_embeddings"] = m_.tie_word_embeddings;
    j_["pad_token_id"] = id_or_null(m_.pad_token_id);
    j_["bos_token_id"] = id_or_null(m_.bos_token_id);
    j_["eos_token_id"] = ids_or_null(m_.eos_token_ids);
    j_["dtype"] = dtype_name(m_.float_dtype);
    return j_;
  }

 private:
  // The first layer of the type, or of any if there is none.
  const LayerConfig& layer_of(LayerType type) const {
    for (const LayerConfig& layer : m_.layers) {
      if (layer.type == type) return layer;
    }
    return m_.layers[0];
  }

  void write_common() {
    const bool is_gemma3 = m_.family == ModelFamily::kGemma3;
    j_["model_type"] = is_gemma3 ? "gemma3_text" : "gemma4_text";
    j_["architectures"] = {is_gemma3 ? "Gemma3ForCausalLM" : "Gemma4ForCausalLM"};
    j_["vocab_size"] = m_.vocab_size;
    j_["hidden_size"] = m_.hidden_size;
    j_["intermediate_size"] = m_.layers[0].intermediate_size;
    j_["num_hidden_layers"] = m_.num_layers();
    j_["num_attention_heads"] = m_.num_heads;
    j_["num_key_value_heads"] = layer_of(LayerType::kSliding).num_kv_heads;
    j_["head_dim"] = layer_of(LayerType::kSliding).head_dim;
    j_["hidden_activation"] = "gelu_pytorch_tanh";
    j_["attention_bias"] = false;
    j_["max_position_embeddings"] = m_.max_position_embeddings;
    j_["rms_norm_eps"] = short_number(m_.rms_norm_eps);
    j_["sliding_window"] = m_.window_size > 0 ? Json(m_.window_size) : Json(nullptr);
    for (const LayerConfig& layer : m_.layers) j_["layer_types"].push_back(name(layer.type));
    j_["final_logit_softcapping"] = cap_or_null(short_number(m_.final_logits_soft_cap));
  }

  void write_gemma3() {
    constexpr int kPeriod = 6;
    j_["query_pre_attn_scalar"] = std::round(1.0 / (m_.softmax_scale * m_.softmax_scale));
    j_["attn_logit_softcapping"] = cap_or_null(short_number(m_.attn_logits_soft_cap));
    j_["sliding_window_pattern"] = kPeriod;
    j_["rope_theta"] = short_number(m_.rope_full.theta);
    j_["rope_local_base_freq"] = short_number(m_.rope_sliding.theta);
    j_["rope_scaling"] = nullptr;
    if (m_.rope_full.kind == RopeKind::kLinear) {
      j_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", short_number(m_.rope_full.factor)}};
    }
  }

  void write_gemma4() {
    const LayerConfig& full = layer_of(LayerType::kFull);
    j_["global_head_dim"] = full.head_dim;
    bool k_eq_v = false;
    int64_t shared = 0;
    for (const LayerConfig& layer : m_.layers) {
      k_eq_v = k_eq_v || layer.k_eq_v;
      shared += layer.kv_shared_from >= 0 ? 1 : 0;
    }
    j_["attention_k_eq_v"] = k_eq_v;
    j_["num_global_key_value_heads"] = k_eq_v ? Json(full.num_kv_heads) : Json(nullptr);
    j_["num_kv_shared_layers"] = shared;
    j_["use_double_wide_mlp"] =
        shared > 0 && m_.layers.back().intermediate_size == 2 * m_.layers[0].intermediate_size;
    j_["rope_parameters"] = {
        {"sliding_attention",
         {{"rope_type", "default"}, {"rope_theta", short_number(m_.rope_sliding.theta)}}},
        {"full_attention", full_rope(full.head_dim)}};
    j_["hidden_size_per_layer_input"] = m_.per_layer_input_size;
    j_["vocab_size_per_layer_input"] =
        m_.per_layer_input_size > 0 ? m_.per_layer_input_vocab_size : m_.vocab_size;
    j_["enable_moe_block"] = m_.moe.num_experts > 0;
    if (m_.moe.num_experts > 0) {
      j_["num_experts"] = m_.moe.num_experts;
      j_["top_k_experts"] = m_.moe.top_k;
      j_["moe_intermediate_size"] = m_.moe.intermediate_size;
    }
  }

  // The first pairs are rotated, all with one divisor, the others are not.
  Json full_rope(int64_t head_dim) const {
    constexpr float kNotRotated = 1e29f;
    std::vector<float> divisors = rope_divisors(m_.rope_full, head_dim);
    if (divisors.empty()) divisors.assign(static_cast<size_t>(head_dim / 2), 1.0f);
    const auto rest =
        std::find_if(divisors.begin(), divisors.end(), [](float d) { return d >= kNotRotated; });
    const bool is_proportional =
        rest != divisors.begin() &&
        std::all_of(divisors.begin(), rest, [&](float d) { return d == divisors[0]; }) &&
        std::all_of(rest, divisors.end(), [](float d) { return d >= kNotRotated; });
    if (!is_proportional) {
      reject("rope_freqs.weight", "divisors of several sizes",
             "one divisor for the first pairs and none for the others, as config.json can say it");
    }
    const double share =
        static_cast<double>(rest - divisors.begin()) / static_cast<double>(divisors.size());
    return {{"rope_type", "proportional"},
            {"rope_theta", short_number(m_.rope_full.theta)},
            {"factor", divisors[0]},
            {"partial_rotary_factor", share}};
  }

  const ModelConfig& m_;
  Json j_;
};

}  // namespace

std::string config_for_mlx(const std::string& source_text,
                           const std::vector<PlannedTensor>& tensors, const Encoding& file_level) {
  Json config = Json::parse(source_text, nullptr, false);
  if (!config.is_object()) reject("config.json", "another JSON value", "an object");
  std::vector<Json*> levels = {&config};
  const bool is_wrapper = config.contains("text_config") && config["text_config"].is_object();
  if (is_wrapper) levels.push_back(&config["text_config"]);
  for (Json* level : levels) {
    level->erase("quantization");
    level->erase("quantization_config");
  }
  // mlx-lm takes the vocabulary's size from the outer level and assumes 262144 there.
  if (is_wrapper && !config.contains("vocab_size") &&
      config["text_config"].contains("vocab_size")) {
    config["vocab_size"] = config["text_config"]["vocab_size"];
  }
  const PlannedTensor* quantised = first_quantised(tensors);
  if (quantised != nullptr) {
    const Json section =
        quantization_section(tensors, file_level.is_mlx() ? file_level : quantised->encoding);
    config["quantization"] = section;
    config["quantization_config"] = section;
  }
  return dump(config);
}

std::string config_from_model(const ModelConfig& model) { return dump(Writer(model).write()); }

std::string generation_config_from_model(const ModelConfig& model) {
  Json json = Json::object();
  json["bos_token_id"] = id_or_null(model.bos_token_id);
  json["eos_token_id"] = ids_or_null(model.eos_token_ids);
  json["pad_token_id"] = id_or_null(model.pad_token_id);
  if (!model.suppress_tokens.empty()) json["suppress_tokens"] = model.suppress_tokens;
  if (model.sampling.temperature) {
    json["do_sample"] = *model.sampling.temperature > 0;
    json["temperature"] = short_number(*model.sampling.temperature);
  }
  if (model.sampling.top_k) json["top_k"] = *model.sampling.top_k;
  if (model.sampling.top_p) json["top_p"] = short_number(*model.sampling.top_p);
  return dump(json);
}

}  // namespace mlxn::convert
