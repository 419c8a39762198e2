// SPDX-License-Identifier: Apache-2.0
// The quantization section of an MLX config.json: file-level parameters and overrides per module.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "checkpoint/json.h"

namespace mlxn::checkpoint {

struct QuantParams {
  std::string mode = "affine";
  int64_t bits = 4;
  int64_t group_size = 64;
};

// "affine 4-bit g64".
std::string short_name(const QuantParams& params);

class QuantConfig {
 public:
  QuantConfig() = default;
  // config: the root of config.json. Looks for `quantization`, then `quantization_config`, then
  // both inside text_config. Throws kQuantConfig.
  static QuantConfig read(const Json& config);

  bool present() const { return present_; }
  const QuantParams& file_level() const { return file_level_; }

  // "mxfp4 4-bit, group 32", and what overrides say besides: "...; some modules affine 8-bit, ...".
  std::string describe() const;

  // Parameters of the module at `path` (the name in the file without .weight). The first key that
  // exists wins: the path, the path with .weight, then both without a leading "language_model." or,
  // if there is none, with it; otherwise the file-level values. nullopt: the override is false.
  std::optional<QuantParams> find(std::string_view path) const;

  // Throws kQuantConfig if the parameters are out of range, kUnsupportedDtype for an unknown
  // mode.
  void check(const QuantParams& params, std::string_view path) const;

 private:
  bool present_ = false;
  std::string where_;
  QuantParams file_level_;
  std::unordered_map<std::string, std::optional<QuantParams>> overrides_;
};

}  // namespace mlxn::checkpoint
