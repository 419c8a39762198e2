// SPDX-License-Identifier: Apache-2.0
// What a model file says about its decoder, normalised: the same struct whether it came from
// config.json or from GGUF metadata, with defaults filled in and every relation checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/dtype.h"
#include "mlxn/export.h"

namespace mlxn {

enum class ModelFamily : uint8_t { kGemma3, kGemma4 };
enum class LayerType : uint8_t { kSliding, kFull };
enum class RopeKind : uint8_t {
  kDefault,       // inv[i] = theta^(-2i/D)
  kLinear,        // inv[i] = theta^(-2i/D) / factor
  kProportional,  // as linear for i < floor(partial_rotary_factor * D / 2), 0 from there on
};

MLXN_API std::string_view name(ModelFamily family);  // "gemma3", "gemma4"
MLXN_API std::string_view name(LayerType type);      // "sliding_attention", "full_attention"
MLXN_API std::string_view name(RopeKind kind);       // "default", "linear", "proportional"

// Half-split rotation over the whole head dim D; pair i is (i, i + D/2).
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                 // linear and proportional
  double partial_rotary_factor = 1.0;  // proportional
  // GGUF rope_freqs, [D/2]: inv[i] = theta^(-2i/D) / freq_factors[i]. Empty if the file has none.
  std::vector<float> freq_factors;
};

// Divisors d[D/2] with inv[i] = theta^(-2i/D) / d[i]; infinity where a pair is not rotated. Empty
// when every divisor is one.
MLXN_API std::vector<float> rope_divisors(const RopeConfig& rope, int64_t head_dim);

struct LayerConfig {
  LayerType type = LayerType::kFull;
  int64_t head_dim = 0;
  int64_t num_kv_heads = 0;
  int64_t intermediate_size = 0;  // width of the dense MLP
  bool k_eq_v = false;            // no v_proj: V is the raw output of k_proj
  int64_t kv_shared_from = -1;    // index of the layer whose K and V are used; -1: its own
};

struct MoeConfig {
  int64_t num_experts = 0;  // 0: dense model
  int64_t top_k = 0;
  int64_t intermediate_size = 0;  // width of one expert
};

struct SamplingDefaults {
  std::optional<double> temperature;  // 0 when the file asks for greedy decoding
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
};

struct QuantizationInfo {
  std::string description;  // "affine 4-bit, group 64", "q4_0", "bf16"; for people
  std::string mode;         // MLX: "affine", ...; empty for GGUF and unquantised files
  int64_t bits = 0;         // MLX file-level values
  int64_t group_size = 0;
  std::string file_type;  // GGUF general.file_type: "Q4_K_M", ...; empty if the file has none
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kGemma4;
  std::string model_type;  // as the file says, such as "gemma4_text"
  std::string model_name;  // GGUF general.name; may be empty

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;  // query heads, the same in every layer
  std::vector<LayerConfig> layers;
  int64_t window_size = 0;  // keys a sliding layer sees, the current token included
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double softmax_scale = 1.0;
  double attn_logits_soft_cap = 0.0;   // 0: none
  double final_logits_soft_cap = 0.0;  // 0: none
  RopeConfig rope_sliding;
  RopeConfig rope_full;

  // sqrt(hidden_size) rounded to the float dtype of a safetensors checkpoint; f32 for GGUF.
  float embedding_scale = 1.0f;
  // Added to stored norm weights before use: 1 for Gemma 3 safetensors, which hold w of (1 + w);
  // 0 for Gemma 3 GGUF, which holds 1 + w, and for Gemma 4.
  float norm_weight_offset = 0.0f;
  // Float type of the checkpoint: that of the embedding table, or of its scales if quantised.
  DType float_dtype = DType::kF32;

  int64_t per_layer_input_size = 0;        // P; 0: no per-layer inputs
  int64_t per_layer_input_vocab_size = 0;  // rows of the per-layer table
  MoeConfig moe;
  bool tie_word_embeddings = true;

  std::vector<int64_t> eos_token_ids;  // union of every place that names one, ascending
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::vector<int64_t> suppress_tokens;  // never to be sampled
  SamplingDefaults sampling;
  QuantizationInfo quantization;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  const RopeConfig& rope(LayerType type) const {
    return type == LayerType::kSliding ? rope_sliding : rope_full;
  }
};

// Reads the configuration alone. path: a config.json, a model directory or a .gguf file. Without
// weights the float dtype is the one that config.json names. Throws kConfig naming the field.
MLXN_API ModelConfig load_model_config(const std::string& path);

}  // namespace mlxn
