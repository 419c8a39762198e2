// SPDX-License-Identifier: Apache-2.0
#include "mlxn/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/no_memory.h"
#include "checkpoint/checkpoint_impl.h"
#include "checkpoint/config.h"
#include "checkpoint/fail.h"
#include "checkpoint/gguf_vocab.h"
#include "checkpoint/load_tensor.h"
#include "checkpoint/locate.h"

namespace mlxn {
namespace {

using namespace checkpoint;

void attach_names(CheckpointImpl& impl) {
  const TensorTable* tensors = &impl.tensors;
  impl.names = std::make_unique<NameMap>(
      impl.config.family, impl.kind == CheckpointKind::kGguf,
      [tensors](std::string_view name) { return tensors->find(name) != nullptr; });
  for (const auto& [name, tensor] : impl.tensors.all()) {
    if (!impl.names->is_known(name) && !is_ignorable(name)) {
      impl.warnings.push_back("unknown tensor " + in_quotes(name) + " in " +
                              file_name(tensor.file->path()));
    }
  }
}

// The float type of the embedding table, or of its scales if it is quantised.
DType float_dtype_of(const CheckpointImpl& impl) {
  const auto module = impl.names->module("embed_tokens");
  if (!module) return impl.config.float_dtype;
  const StoredTensor* scales = impl.tensors.find(module->path + ".scales");
  const StoredTensor* tensor = scales != nullptr ? scales : impl.tensors.find(module->weight);
  return float_type(*tensor).value_or(DType::kF32);
}

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

// The format of a tensor that belongs to a quantised module of MLX: codes, scales or biases.
std::optional<std::string> coded_format(const CheckpointImpl& impl, std::string_view name) {
  const auto path_before = [name](std::string_view end) {
    return name.ends_with(end) ? std::string(name.substr(0, name.size() - end.size())) : "";
  };
  const std::string module = path_before(".weight");
  if (!module.empty() && impl.tensors.find(module + ".scales") != nullptr) {
    const auto params = impl.quant.present() ? impl.quant.find(module) : std::nullopt;
    if (params) return short_name(*params);
  }
  for (const char* part : {"scales", "biases"}) {
    const std::string path = path_before(std::string(".") + part);
    if (!path.empty() && impl.tensors.find(path + ".weight") != nullptr) return part;
  }
  return std::nullopt;
}

// The storage type that holds most bytes.
std::string most_common_type(const TensorTable& tensors) {
  std::map<std::string, uint64_t> bytes;
  for (const auto& [name, tensor] : tensors.all()) bytes[tensor.type_name] += tensor.bytes.size();
  std::string best;
  for (const auto& [type, count] : bytes) {
    if (best.empty() || count > bytes[best]) best = type;
  }
  return lower_case(best);
}

QuantizationInfo quantization_info(const QuantConfig& quant) {
  const QuantParams& params = quant.file_level();
  return {quant.describe(), params.mode, params.bits, params.group_size, ""};
}

void describe_quantization(CheckpointImpl& impl) {
  QuantizationInfo& info = impl.config.quantization;
  if (impl.quant.present()) {
    info = quantization_info(impl.quant);
  } else {
    info.description = most_common_type(impl.tensors);
  }
}

std::shared_ptr<CheckpointImpl> open_gguf(const std::string& path) {
  auto impl = std::make_shared<CheckpointImpl>();
  impl->kind = CheckpointKind::kGguf;
  impl->gguf = GgufFile::open(path);
  impl->tensors = TensorTable::from_gguf(*impl->gguf);
  impl->config = config_from_gguf(*impl->gguf, impl->tensors);
  attach_names(*impl);
  return impl;
}

std::shared_ptr<CheckpointImpl> open_directory(const std::string& path) {
  auto impl = std::make_shared<CheckpointImpl>();
  impl->kind = CheckpointKind::kSafetensors;
  const Json config = read_json_file(path + "/config.json");
  impl->config =
      config_from_json(config, read_json_file_if_exists(path + "/generation_config.json"));
  impl->quant = QuantConfig::read(config);
  impl->tensors = TensorTable::from_directory(path, impl->warnings);
  attach_names(*impl);
  set_float_dtype(impl->config, float_dtype_of(*impl));
  // Gemma 3 files without a head are tied whatever the config says.
  if (impl->config.family == ModelFamily::kGemma3 && !impl->names->module("lm_head")) {
    impl->config.tie_word_embeddings = true;
  }
  return impl;
}

[[noreturn]] void fail_missing(const CheckpointImpl& impl, std::string_view name) {
  const std::vector<std::string> tried = impl.names->candidates(name);
  fail(impl.tensors.error_kind(), impl.path, "tensor " + in_quotes(name), "nothing",
       tried.empty() ? fmt::format("a tensor of {}", mlxn::name(impl.config.family))
                     : fmt::format("one of: {}", fmt::join(tried, ", ")));
}

}  // namespace

std::string_view name(CheckpointKind kind) {
  return kind == CheckpointKind::kGguf ? "gguf" : "safetensors";
}

Checkpoint::Checkpoint(std::shared_ptr<const CheckpointImpl> impl) : impl_(std::move(impl)) {}

Checkpoint Checkpoint::open(const std::string& path) try {
  const ModelLocation location = locate_model(path);
  if (location.kind == ModelLocation::Kind::kConfigFile) {
    fail(ErrorKind::kIo, path, "model", "a .json file", "a model directory or a .gguf file");
  }
  auto impl = location.kind == ModelLocation::Kind::kGguf ? open_gguf(location.path)
                                                          : open_directory(location.path);
  impl->path = path;
  describe_quantization(*impl);
  return Checkpoint(std::move(impl));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

CheckpointKind Checkpoint::kind() const { return impl_->kind; }
const std::string& Checkpoint::path() const { return impl_->path; }
const ModelConfig& Checkpoint::config() const { return impl_->config; }
const std::vector<std::string>& Checkpoint::warnings() const { return impl_->warnings; }

std::vector<TensorInfo> Checkpoint::tensors() const try {
  std::vector<TensorInfo> out;
  for (const auto& [name, tensor] : impl_->tensors.all()) {
    out.push_back({name, tensor.type_name,
                   coded_format(*impl_, name).value_or(lower_case(tensor.type_name)), tensor.shape,
                   tensor.bytes.size(), tensor.file->path()});
  }
  return out;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

uint64_t Checkpoint::total_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, tensor] : impl_->tensors.all()) total += tensor.bytes.size();
  return total;
}

bool Checkpoint::has(std::string_view name) const try {
  return impl_->names->plain(name).has_value() || impl_->names->module(name).has_value();
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Weight Checkpoint::weight(const Device& device, std::string_view name,
                          const Shape& expected_shape) const try {
  const auto module = impl_->names->module(name);
  if (!module) fail_missing(*impl_, name);
  return load_weight(device, impl_->tensors, *module, impl_->quant, expected_shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ExpertWeights Checkpoint::experts(const Device& device, int64_t layer) const try {
  const ModelConfig& config = impl_->config;
  const std::string prefix = fmt::format("layers.{}.experts.", layer);
  const Shape narrow = {config.moe.num_experts, config.moe.intermediate_size, config.hidden_size};
  ExpertWeights experts;
  if (has(prefix + "gate_up_proj")) {
    experts.gate_up =
        weight(device, prefix + "gate_up_proj", {narrow[0], 2 * narrow[1], narrow[2]});
  } else {
    experts.gate = weight(device, prefix + "gate_proj", narrow);
    experts.up = weight(device, prefix + "up_proj", narrow);
  }
  experts.down = weight(device, prefix + "down_proj", {narrow[0], narrow[2], narrow[1]});
  return experts;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void Checkpoint::let_go(const Weight& weight) const {
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases}) {
    if (buffer->valid()) impl_->tensors.let_go({buffer->data(), buffer->byte_len()});
  }
}

Buffer Checkpoint::tensor(const Device& device, std::string_view name,
                          const Shape& expected_shape) const try {
  const auto stored = impl_->names->plain(name);
  if (!stored) fail_missing(*impl_, name);
  return load_plain(device, impl_->tensors, *stored, expected_shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<float> Checkpoint::floats(std::string_view name, int64_t expected_count) const try {
  const auto stored = impl_->names->plain(name);
  if (!stored) fail_missing(*impl_, name);
  return load_floats(impl_->tensors, *stored, expected_count);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::optional<GgufVocab> Checkpoint::gguf_vocab() const try {
  if (impl_->gguf == nullptr) return std::nullopt;
  return read_gguf_vocab(*impl_->gguf);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ModelConfig load_model_config(const std::string& path) try {
  const ModelLocation location = locate_model(path);
  if (location.kind == ModelLocation::Kind::kGguf) return open_gguf(location.path)->config;
  const bool is_file = location.kind == ModelLocation::Kind::kConfigFile;
  const std::string directory =
      is_file ? location.path.substr(0, location.path.find_last_of('/') + 1) : location.path + "/";
  const Json config = read_json_file(is_file ? location.path : directory + "config.json");
  ModelConfig result =
      config_from_json(config, read_json_file_if_exists(directory + "generation_config.json"));
  const QuantConfig quant = QuantConfig::read(config);
  if (quant.present()) result.quantization = quantization_info(quant);
  return result;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
