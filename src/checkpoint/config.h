// SPDX-License-Identifier: Apache-2.0
// Building a ModelConfig from config.json or from GGUF metadata.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf.h"
#include "checkpoint/json.h"
#include "checkpoint/tensor_table.h"
#include "mlxn/model_config.h"

namespace mlxn::checkpoint {

// Bounds for numbers in configs: far above every published model, small enough that no product of
// a few of them overflows 63 bits.
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxWidth = int64_t{1} << 20;  // hidden, intermediate and expert widths
inline constexpr int64_t kMaxVocab = int64_t{1} << 24;
inline constexpr int64_t kMaxHeads = 4096;
inline constexpr int64_t kMaxHeadDim = 512;
inline constexpr int64_t kMaxExperts = 1024;
inline constexpr int64_t kMaxSelectedExperts = 64;
inline constexpr int64_t kMaxPositions = int64_t{1} << 31;

// config: root of config.json. generation: root of generation_config.json, may be absent.
// Everything but what only the weights can tell (see set_float_dtype). Throws kConfig.
ModelConfig config_from_json(const Json& config, const Json& generation);

// Metadata, and those tensors whose presence or shape is part of the description. Throws kConfig,
// kGguf for values of a wrong type.
ModelConfig config_from_gguf(const GgufFile& gguf, const TensorTable& tensors);

// Relations that must hold whatever the source. `where` names the file.
void check_config(const ModelConfig& config, const std::string& where);

// Points every layer from the last `count` on to the last layer of its type in front of them.
void share_kv_layers(ModelConfig& config, int64_t count, const std::string& where);

// Sets float_dtype and the embedding scale that follows from it.
void set_float_dtype(ModelConfig& config, DType dtype);

// The text for errors about unknown model types.
std::string supported_models();

}  // namespace mlxn::checkpoint
