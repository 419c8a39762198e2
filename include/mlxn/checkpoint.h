// SPDX-License-Identifier: Apache-2.0
// A model's files, opened and validated: safetensors directories (raw Hugging Face or converted by
// MLX) and GGUF. Weights are served from the mapped files under one set of names.
//
// Names are those of transformers for the text decoder, without prefix: "embed_tokens",
// "layers.0.self_attn.q_proj" for a matrix; "norm.weight", "layers.0.layer_scalar",
// "layers.0.router.per_expert_scale" for a plain tensor. The name maps (src/checkpoint/names*.cc)
// turn them into what the file calls them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/export.h"
#include "mlxn/model_config.h"
#include "mlxn/tokenizer.h"
#include "mlxn/weight.h"

namespace mlxn {

enum class CheckpointKind : uint8_t { kSafetensors, kGguf };

MLXN_API std::string_view name(CheckpointKind kind);  // "safetensors", "gguf"

// A tensor as the file has it.
struct TensorInfo {
  std::string name;   // name in the file
  std::string dtype;  // "F32", "BF16", "U32", "Q4_K", ...
  // What the elements are: "f32", "q4_k"; for a quantised module of MLX "affine 4-bit g64", and
  // "scales" or "biases" for the tensors beside it.
  std::string format;
  Shape shape;  // outermost first, GGUF too
  uint64_t byte_len = 0;
  std::string file;
};

// Weights of all experts of a layer. Either gate_up is set, or gate and up.
struct ExpertWeights {
  Weight gate_up;  // [E, 2 * Ie, H]: per expert the gate rows, then the up rows
  Weight gate;     // [E, Ie, H]
  Weight up;       // [E, Ie, H]
  Weight down;     // [E, H, Ie]

  bool is_fused() const { return gate_up.valid(); }
};

struct CheckpointImpl;

class MLXN_API Checkpoint {
 public:
  // path: a directory with config.json and safetensors files, a directory with one .gguf file, or a
  // .gguf file (for a split model the first part). Maps and validates everything except the weight
  // values. Throws kIo, kSafetensors, kGguf, kQuantConfig or kConfig naming file and field.
  static Checkpoint open(const std::string& path);

  CheckpointKind kind() const;
  const std::string& path() const;
  const ModelConfig& config() const;

  // Every tensor in the files, sorted by name.
  std::vector<TensorInfo> tensors() const;
  uint64_t total_bytes() const;
  // Oddities that do not stop a load, such as tensors that the name map does not know.
  const std::vector<std::string>& warnings() const;

  // True if the file has the plain tensor or the matrix of this name.
  bool has(std::string_view name) const;

  // A matrix [N, K] or a stack [E, N, K] in whatever format the file stores it. Throws kSafetensors
  // or kGguf if it is missing or has another shape, kQuantConfig if its quantisation parameters do
  // not fit the data, kUnsupportedDtype for an element type that is not served.
  Weight weight(const Device& device, std::string_view name, const Shape& expected_shape) const;

  // Experts of `layer`; sizes are taken from config().
  ExpertWeights experts(const Device& device, int64_t layer) const;

  // A plain f32, f16 or bf16 tensor as it is stored.
  Buffer tensor(const Device& device, std::string_view name, const Shape& expected_shape) const;

  // Takes the mapped pages under a weight of this checkpoint out of memory, for callers that have
  // made a copy. The weight stays readable. Where a device took a copy (CUDA) or the file was
  // misaligned, weight() and tensor() have done so.
  void let_go(const Weight& weight) const;

  // A small plain tensor (norm weight, scalar) widened to f32.
  std::vector<float> floats(std::string_view name, int64_t expected_count) const;

  // The vocabulary that a GGUF file carries; nullopt for safetensors, whose directory holds
  // tokenizer.json. Throws kGguf for values of a wrong type.
  std::optional<GgufVocab> gguf_vocab() const;

  const CheckpointImpl& impl() const { return *impl_; }

 private:
  explicit Checkpoint(std::shared_ptr<const CheckpointImpl> impl);
  std::shared_ptr<const CheckpointImpl> impl_;
};

// Where the model files of `spec` are. spec: an existing directory or file, or a Hugging Face id
// "org/name" that is looked up in hf_cache_dir, which holds models--org--name folders (directly or
// under hub/); the revision is the one refs/main names. Throws kIo naming the places tried.
MLXN_API std::string resolve_model_path(const std::string& spec, const std::string& hf_cache_dir);

}  // namespace mlxn
