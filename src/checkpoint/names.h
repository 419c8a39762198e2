// SPDX-License-Identifier: Apache-2.0
// Canonical tensor names (transformers, text decoder, no prefix) to the names in files.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mlxn/model_config.h"

namespace mlxn::checkpoint {

enum class NameScope : uint8_t { kModel, kLayer };
enum class NameKind : uint8_t {
  kMatrix,  // a module: the file has <name>.weight, perhaps .scales and .biases
  kPlain,   // the canonical name is the full name
};

// One row per tensor. Layer names are relative: "layers.N." and "blk.N." go in front.
struct NameRow {
  NameScope scope;
  NameKind kind;
  std::string_view canonical;  // "self_attn.q_proj"
  std::string_view gguf;       // "attn_q.weight"; empty: GGUF has no such tensor
  // Name in MLX-converted files if it differs; empty: as canonical.
  std::string_view converted = {};
};

// Every tensor that a family may have (names_gemma.cc).
std::span<const NameRow> name_rows(ModelFamily family);

// Tensors outside the text decoder that a file of the family may carry and that are never loaded.
bool is_ignorable(std::string_view stored_name);

// Turns canonical names into names in the files of one checkpoint.
class NameMap {
 public:
  // exists: whether the file has a tensor of this exact name. Finds out which prefix the text
  // decoder has in a safetensors checkpoint.
  NameMap(ModelFamily family, bool is_gguf, std::function<bool(std::string_view)> exists);

  // The stored name of a plain tensor; nullopt if the file does not have it.
  std::optional<std::string> plain(std::string_view canonical) const;
  // The stored name of a module's data tensor ("...weight" for most) and the module path in front
  // of it; nullopt if the file does not have it.
  struct Module {
    std::string path;
    std::string weight;
  };
  std::optional<Module> module(std::string_view canonical) const;
  // Names that were looked for, for error messages.
  std::vector<std::string> candidates(std::string_view canonical) const;
  // False for a stored tensor that no row of the family explains.
  bool is_known(std::string_view stored_name) const;

  const std::string& prefix() const { return prefix_; }

 private:
  std::vector<std::string> stored_names(std::string_view canonical) const;

  ModelFamily family_;
  bool is_gguf_;
  std::function<bool(std::string_view)> exists_;
  std::string prefix_;
};

}  // namespace mlxn::checkpoint
