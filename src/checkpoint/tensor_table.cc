// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor_table.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "base/directory.h"
#include "checkpoint/fail.h"
#include "checkpoint/gguf.h"
#include "checkpoint/json.h"
#include "checkpoint/safetensors.h"
#include "quant/registry.h"

namespace mlxn::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = size_t{16} << 20;

void set_type(SafetensorsType type, StoredTensor& tensor) {
  switch (type) {
    case SafetensorsType::kF32:
    case SafetensorsType::kF16:
    case SafetensorsType::kBF16:
      tensor.type = StoredType::kFormat;
      tensor.format = type == SafetensorsType::kF32   ? Format::kF32
                      : type == SafetensorsType::kF16 ? Format::kF16
                                                      : Format::kBF16;
      break;
    case SafetensorsType::kU32:
      tensor.type = StoredType::kU32;
      break;
    case SafetensorsType::kU8:
      tensor.type = StoredType::kU8;
      break;
    default:
      break;
  }
}

void set_type(uint32_t gguf_type, StoredTensor& tensor) {
  const auto* traits =
      gguf_type <= INT32_MAX ? quant::find_gguf_type(static_cast<int>(gguf_type)) : nullptr;
  if (traits == nullptr) return;
  tensor.type = StoredType::kFormat;
  tensor.format = traits->format;
}

// tensor name -> file name, in file order of the index.
std::vector<std::pair<std::string, std::string>> read_index(const std::string& path) {
  const Json index =
      Json::parse(base::read_text_file(path, kMaxIndexBytes), path, ErrorKind::kSafetensors);
  const Json map = index["weight_map"];
  if (!map.is_object()) map.fail("an object of file names");
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& [tensor, file] : map.members()) {
    const std::string name = file.text().value_or("");
    const bool escapes =
        name.find('/') != std::string::npos || name.find('\\') != std::string::npos ||
        name.find("..") != std::string::npos || name.find('\0') != std::string::npos;
    if (name.empty() || escapes) {
      fail(ErrorKind::kSafetensors, path, "weight_map." + in_quotes(tensor), in_quotes(name),
           "the name of a file in the same directory");
    }
    result.emplace_back(tensor, name);
  }
  return result;
}

// model*.safetensors, sorted.
std::vector<std::string> list_weight_files(const std::string& directory) {
  std::vector<std::string> result;
  for (const std::string& name : base::list_directory(directory)) {
    if (name.starts_with("model") && name.ends_with(".safetensors")) {
      result.push_back((fs::path(directory) / name).string());
    }
  }
  if (result.empty()) {
    fail(ErrorKind::kIo, directory, "weights", "no model*.safetensors",
         std::string("model.safetensors, or shards and ") + kIndexName);
  }
  return result;
}

}  // namespace

std::optional<DType> float_type(const StoredTensor& tensor) {
  if (tensor.type != StoredType::kFormat) return std::nullopt;
  switch (tensor.format) {
    case Format::kF32:
      return DType::kF32;
    case Format::kF16:
      return DType::kF16;
    case Format::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

const StoredTensor* TensorTable::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

TensorTable TensorTable::from_gguf(const GgufFile& gguf) {
  TensorTable table;
  table.error_kind_ = ErrorKind::kGguf;
  table.where_ = gguf.path();
  for (const GgufFile::Part& part : gguf.parts()) {
    for (const GgufTensor& tensor : part.header.tensors) {
      StoredTensor& stored = table.tensors_[tensor.name];
      stored.type_name = gguf_type_name(tensor.type);
      stored.shape = tensor.shape;
      stored.bytes = part.file->bytes().subspan(tensor.begin, tensor.end - tensor.begin);
      stored.file = part.file;
      set_type(tensor.type, stored);
    }
  }
  return table;
}

void TensorTable::add_file(const std::string& path) {
  const SafetensorsFile shard = SafetensorsFile::open(path);
  for (const SafetensorsTensor& tensor : shard.tensors) {
    const auto [position, is_new] = tensors_.try_emplace(tensor.name);
    if (!is_new) {
      fail(ErrorKind::kSafetensors, path, in_quotes(tensor.name), "the tensor in another shard too",
           "each tensor once");
    }
    StoredTensor& stored = position->second;
    stored.type_name = tensor.type_name;
    stored.shape = tensor.shape;
    stored.bytes = shard.bytes_of(tensor);
    stored.file = shard.file;
    set_type(tensor.type, stored);
  }
}

TensorTable TensorTable::from_directory(const std::string& directory,
                                        std::vector<std::string>& warnings) {
  TensorTable table;
  table.where_ = directory;
  const fs::path index_path = fs::path(directory) / kIndexName;
  std::error_code error;
  if (!fs::exists(index_path, error)) {
    for (const std::string& path : list_weight_files(directory)) table.add_file(path);
    return table;
  }
  const auto index = read_index(index_path.string());
  std::set<std::string> files;
  for (const auto& entry : index) files.insert(entry.second);
  for (const std::string& file : files) table.add_file((fs::path(directory) / file).string());
  for (const auto& [tensor, file] : index) {
    const StoredTensor* stored = table.find(tensor);
    if (stored == nullptr || file_name(stored->file->path()) != file) {
      fail(ErrorKind::kSafetensors, index_path.string(), "weight_map." + in_quotes(tensor),
           in_quotes(file), "a file that contains the tensor");
    }
  }
  std::set<std::string_view> listed;
  for (const auto& entry : index) listed.insert(entry.first);
  for (const auto& [tensor, stored] : table.tensors_) {
    if (listed.count(tensor) == 0) {
      warnings.push_back(in_quotes(tensor) + " of " + file_name(stored.file->path()) +
                         " is not in " + kIndexName);
    }
  }
  return table;
}

void TensorTable::let_go(std::span<const std::byte> bytes) const {
  for (const auto& [name, tensor] : tensors_) {
    const auto file = tensor.file->bytes();
    const std::less_equal<const std::byte*> not_after;
    if (not_after(file.data(), bytes.data()) &&
        not_after(bytes.data() + bytes.size(), file.data() + file.size())) {
      return tensor.file->let_go(bytes);
    }
  }
}

}  // namespace mlxn::checkpoint
