// SPDX-License-Identifier: Apache-2.0
#include "models/gemma/plan.h"

#include <algorithm>
#include <string>

namespace mlxn::models {
namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kMaxContext = int64_t{1} << 31;
constexpr int kMaxBatch = 4096;

void require(bool ok, const char* parameter, std::string found, std::string required) {
  if (ok) return;
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"ModelOptions", parameter, std::move(found), std::move(required)});
}

void require_config(bool ok, const std::string& parameter, int64_t found, std::string required) {
  if (ok) return;
  throw Error(ErrorKind::kConfig,
              ErrorDetail{"model config", parameter, std::to_string(found), std::move(required)});
}

int64_t context_of(const ModelConfig& config, const ModelOptions& options) {
  const int64_t trained = config.max_position_embeddings;
  require_config(trained > 0 && trained < kMaxContext, "max_position_embeddings", trained,
                 "1 .. 2^31 - 1");
  if (options.max_context == 0) return std::min(trained, kDefaultContext);
  require(options.max_context >= 1 && options.max_context <= trained, "max_context",
          std::to_string(options.max_context), "0 .. " + std::to_string(trained));
  return options.max_context;
}

void check_layers(const ModelConfig& config) {
  require_config(!config.layers.empty(), "layers", config.num_layers(), "at least 1");
  for (int64_t i = 0; i < config.num_layers(); ++i) {
    const LayerConfig& layer = config.layers[static_cast<size_t>(i)];
    const std::string where = "layers[" + std::to_string(i) + "].";
    require_config(layer.head_dim > 0, where + "head_dim", layer.head_dim, "at least 1");
    require_config(layer.num_kv_heads > 0 && config.num_heads % layer.num_kv_heads == 0,
                   where + "num_kv_heads", layer.num_kv_heads, "a divisor of the query heads");
    require_config(layer.type == LayerType::kFull || config.window_size > 0, "window_size",
                   config.window_size, "at least 1");
    if (layer.kv_shared_from < 0) continue;
    require_config(layer.kv_shared_from < i, where + "kv_shared_from", layer.kv_shared_from,
                   "an earlier layer");
    const LayerConfig& owner = config.layers[static_cast<size_t>(layer.kv_shared_from)];
    const bool alike = owner.kv_shared_from < 0 && owner.head_dim == layer.head_dim &&
                       owner.num_kv_heads == layer.num_kv_heads && owner.type == layer.type;
    require_config(alike, where + "kv_shared_from", layer.kv_shared_from,
                   "a layer with its own cache and the same shape");
  }
}

std::optional<KvCacheShape> plan_cache(const ModelConfig& config, const LayerConfig& layer,
                                       const Plan& plan) {
  if (layer.kv_shared_from >= 0) return std::nullopt;
  return KvCacheShape{.batch = plan.batch,
                      .num_kv_heads = layer.num_kv_heads,
                      .head_dim = layer.head_dim,
                      .v_dim = layer.head_dim,
                      .dtype = plan.kv_type,
                      .v_type = plan.kv_type_v,
                      .norm_correction = plan.norm_correction,
                      .max_context = plan.max_context,
                      .window_size = layer.type == LayerType::kSliding ? config.window_size : 0,
                      .max_chunk = plan.chunk};
}

ScratchPlan plan_scratch(const ModelConfig& config, const Plan& plan) {
  ScratchPlan scratch;
  scratch.rows = std::max(plan.chunk, plan.batch);
  scratch.hidden = config.hidden_size;
  for (const LayerConfig& layer : config.layers) {
    scratch.q = std::max(scratch.q, config.num_heads * layer.head_dim);
    scratch.kv = std::max(scratch.kv, layer.num_kv_heads * layer.head_dim);
    scratch.mlp = std::max(scratch.mlp, layer.intermediate_size);
  }
  scratch.per_layer_input = config.per_layer_input_size;
  scratch.per_layer_inputs = config.num_layers() * config.per_layer_input_size;
  scratch.experts = config.moe.num_experts;
  scratch.top_k = config.moe.top_k;
  scratch.expert_width = config.moe.intermediate_size;
  scratch.logit_rows = plan.batch;
  scratch.vocab = config.vocab_size;
  scratch.batch = plan.batch;
  return scratch;
}

}  // namespace

Plan make_plan(const ModelConfig& config, const ModelOptions& options) {
  check_layers(config);
  Plan plan;
  plan.max_context = context_of(config, options);
  require(options.batch >= 1 && options.batch <= kMaxBatch, "batch", std::to_string(options.batch),
          "1 .. " + std::to_string(kMaxBatch));
  require(options.prefill_chunk >= 1 && options.prefill_chunk < kMaxContext, "prefill_chunk",
          std::to_string(options.prefill_chunk), "at least 1");
  const KvType v_type = options.kv_type_v.value_or(options.kv_type);
  for (const auto& [field, type] :
       {std::pair{"kv_type", options.kv_type}, std::pair{"kv_type_v", v_type}}) {
    require(parse_kv_type(name(type)).has_value(), field, name(type),
            "f32, f16, bf16 or tq2, tq3, tq4, tq5, tq6, tq8");
  }
  require(v_type == options.kv_type || (v_type.is_coded() && options.kv_type.is_coded()),
          "kv_type_v", name(v_type), "kv_type, or codes beside codes");
  require(!options.kv_norm_correction || options.kv_type.is_coded(), "kv_norm_correction",
          "true for " + name(options.kv_type), "codes");
  plan.batch = options.batch;
  plan.chunk = std::min(options.prefill_chunk, plan.max_context);
  plan.kv_type = options.kv_type;
  plan.kv_type_v = v_type;
  plan.norm_correction = options.kv_norm_correction;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    plan.caches.push_back(plan_cache(config, config.layers[i], plan));
    if (plan.caches[i]) plan.first_reader_layer = static_cast<int64_t>(i) + 1;
  }
  plan.scratch = plan_scratch(config, plan);
  return plan;
}

}  // namespace mlxn::models
