// SPDX-License-Identifier: Apache-2.0
// Sizes that follow from a configuration and the options alone: cache capacities and the widths of
// the activation buffers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mlxn/kv_cache.h"
#include "mlxn/model.h"

namespace mlxn::models {

// Widest row of every activation buffer, in elements; `rows` of them are allocated.
struct ScratchPlan {
  int64_t rows = 0;
  int64_t hidden = 0;
  int64_t q = 0;                 // also the attention's output
  int64_t kv = 0;                // K and V each
  int64_t mlp = 0;               // gate and up each
  int64_t per_layer_inputs = 0;  // L * P
  int64_t per_layer_input = 0;   // P
  int64_t experts = 0;
  int64_t top_k = 0;
  int64_t expert_width = 0;  // Ie
  int64_t logit_rows = 0;
  int64_t vocab = 0;
  int64_t batch = 0;
};

struct Plan {
  int64_t max_context = 0;
  int64_t batch = 0;
  int64_t chunk = 0;
  KvType kv_type = DType::kF16;
  KvType kv_type_v = DType::kF16;
  bool norm_correction = false;  // of codes
  // One per layer; empty where another layer's cache is used.
  std::vector<std::optional<KvCacheShape>> caches;
  ScratchPlan scratch;
  // Layers from here on own no cache, so that only rows whose logits are wanted go through them.
  int64_t first_reader_layer = 0;
};

// Throws kInvalidArgument for options outside their range, kConfig for a configuration that the
// decoder cannot run.
Plan make_plan(const ModelConfig& config, const ModelOptions& options);

uint64_t cache_bytes(const Plan& plan);
uint64_t scratch_bytes(const Plan& plan);

}  // namespace mlxn::models
