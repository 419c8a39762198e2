// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/quant_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

constexpr std::string_view kPrefix = "language_model.";
constexpr std::array<int64_t, 6> kAffineBits = {2, 3, 4, 5, 6, 8};
constexpr std::array<int64_t, 3> kAffineGroups = {32, 64, 128};
constexpr size_t kMaxDescribed = 6;

// Defaults of the modes, and the only parameters that the fp modes allow.
struct ModeDefaults {
  std::string_view mode;
  int64_t bits;
  int64_t group_size;
};
constexpr std::array<ModeDefaults, 4> kModes = {{
    {"affine", 4, 64},
    {"mxfp4", 4, 32},
    {"nvfp4", 4, 16},
    {"mxfp8", 8, 32},
}};

const ModeDefaults& defaults_of(std::string_view mode) {
  for (const ModeDefaults& entry : kModes) {
    if (entry.mode == mode) return entry;
  }
  return kModes[0];
}

bool is_known(std::string_view mode) { return defaults_of(mode).mode == mode; }

// An override without `mode` is affine whatever the file-level mode is; its missing group size is
// the file-level one.
QuantParams read_params(const Json& object, const QuantParams* file_level) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  QuantParams params;
  if (const auto mode = object["mode"].text()) params.mode = *mode;
  const ModeDefaults& defaults = defaults_of(params.mode);
  params.bits = object["bits"].integer(-kMax, kMax, "2, 3, 4, 5, 6 or 8").value_or(defaults.bits);
  const int64_t group = file_level != nullptr && file_level->mode == params.mode
                            ? file_level->group_size
                            : defaults.group_size;
  params.group_size =
      object["group_size"].integer(-kMax, kMax, "16, 32, 64 or 128").value_or(group);
  return params;
}

Json find_section(const Json& config) {
  const Json text = config["text_config"];
  for (const Json& level : {config, text}) {
    if (!level.is_object()) continue;
    for (std::string_view key : {"quantization", "quantization_config"}) {
      const Json section = level[key].with_kind(ErrorKind::kQuantConfig);
      if (section.has_value()) return section;
    }
  }
  return {};
}

}  // namespace

std::string short_name(const QuantParams& params) {
  return fmt::format("{} {}-bit g{}", is_known(params.mode) ? params.mode : in_quotes(params.mode),
                     params.bits, params.group_size);
}

QuantConfig QuantConfig::read(const Json& config) {
  QuantConfig result;
  result.where_ = config.where();
  const Json section = find_section(config);
  if (!section.present()) return result;
  if (!section.is_object()) section.fail("an object");
  result.present_ = true;
  // Other tools name their scheme in quantization_config.quant_method and pack tensors differently,
  // but for mxfp4, whose other keys say nothing about the file. A section called `quantization` is
  // MLX's own, where the key means nothing.
  const bool is_foreign_place = section.path().find("quantization_config") != std::string::npos;
  if (const Json method = section["quant_method"]; is_foreign_place && method.has_value()) {
    if (method.text() != "mxfp4") {
      method.fail("a file quantised by MLX (bits, group_size, mode), or \"mxfp4\"");
    }
    const ModeDefaults& defaults = defaults_of("mxfp4");
    result.file_level_ = {"mxfp4", defaults.bits, defaults.group_size};
    return result;
  }
  result.file_level_ = read_params(section, nullptr);
  for (const auto& [key, value] : section.members()) {
    if (value.is_bool() && !*value.boolean()) {
      result.overrides_.emplace(key, std::nullopt);
    } else if (value.is_object() && (value["bits"].present() || value["mode"].present())) {
      result.overrides_.emplace(key, read_params(value, &result.file_level_));
    }
  }
  return result;
}

std::string QuantConfig::describe() const {
  const auto text = [](const QuantParams& params) {
    return fmt::format("{} {}-bit, group {}",
                       is_known(params.mode) ? params.mode : in_quotes(params.mode), params.bits,
                       params.group_size);
  };
  const std::string whole = text(file_level_);
  std::set<std::string> others;
  for (const auto& [path, params] : overrides_) {
    if (params && text(*params) != whole) others.insert(text(*params));
  }
  if (others.empty()) return whole;
  if (others.size() > kMaxDescribed) return whole + "; modules of many other formats";
  return fmt::format("{}; some modules {}", whole, fmt::join(others, "; "));
}

std::optional<QuantParams> QuantConfig::find(std::string_view path) const {
  const std::string exact(path);
  const std::string other = path.substr(0, kPrefix.size()) == kPrefix
                                ? exact.substr(kPrefix.size())
                                : std::string(kPrefix) + exact;
  for (const std::string& candidate : {exact, exact + ".weight", other, other + ".weight"}) {
    const auto found = overrides_.find(candidate);
    if (found != overrides_.end()) return found->second;
  }
  return file_level_;
}

void QuantConfig::check(const QuantParams& params, std::string_view path) const {
  const auto reject = [&](const char* field, int64_t found, std::string required) {
    fail(ErrorKind::kQuantConfig, where_, fmt::format("{} of {}", field, in_quotes(path)),
         std::to_string(found), std::move(required));
  };
  const ModeDefaults& defaults = defaults_of(params.mode);
  if (!is_known(params.mode)) {
    fail(ErrorKind::kUnsupportedDtype, where_, "quantization mode of " + in_quotes(path),
         in_quotes(params.mode), "affine, mxfp4, mxfp8 or nvfp4");
  }
  if (params.mode != "affine") {
    if (params.bits != defaults.bits) reject("bits", params.bits, std::to_string(defaults.bits));
    if (params.group_size != defaults.group_size) {
      reject("group_size", params.group_size, std::to_string(defaults.group_size));
    }
    return;
  }
  if (std::find(kAffineBits.begin(), kAffineBits.end(), params.bits) == kAffineBits.end()) {
    reject("bits", params.bits, "2, 3, 4, 5, 6 or 8");
  }
  if (std::find(kAffineGroups.begin(), kAffineGroups.end(), params.group_size) ==
      kAffineGroups.end()) {
    reject("group_size", params.group_size, "32, 64 or 128");
  }
}

}  // namespace mlxn::checkpoint
