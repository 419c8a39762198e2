// SPDX-License-Identifier: Apache-2.0
// All tensors of a checkpoint by the name they have in the files, whatever the container.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "mlxn/buffer.h"
#include "mlxn/error.h"
#include "mlxn/weight.h"

namespace mlxn::checkpoint {

// What a loader can make of a tensor.
enum class StoredType : uint8_t {
  kFormat,  // floats, or blocks with their scales inside: a weight by itself
  kU32,     // codes of MLX
  kU8,      // scales of MLX's fp modes
  kOther,
};

struct StoredTensor {
  std::string type_name;  // as the file says
  StoredType type = StoredType::kOther;
  Format format = Format::kF32;  // if type is kFormat
  Shape shape;                   // outermost first
  std::span<const std::byte> bytes;
  std::shared_ptr<base::MappedFile> file;
};

// The type of its elements if they are floats.
std::optional<DType> float_type(const StoredTensor& tensor);

class GgufFile;

class TensorTable {
 public:
  // The parts of a GGUF model.
  static TensorTable from_gguf(const GgufFile& gguf);
  // The safetensors files of a model directory: those that model.safetensors.index.json names, else
  // every model*.safetensors. Notes tensors that the index does not list in `warnings`.
  static TensorTable from_directory(const std::string& directory,
                                    std::vector<std::string>& warnings);

  ErrorKind error_kind() const { return error_kind_; }
  const std::string& where() const { return where_; }
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, StoredTensor, std::less<>>& all() const { return tensors_; }
  // If a file of the table maps these bytes, they leave memory until they are read again.
  void let_go(std::span<const std::byte> bytes) const;

 private:
  void add_file(const std::string& path);

  ErrorKind error_kind_ = ErrorKind::kSafetensors;
  std::string where_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

}  // namespace mlxn::checkpoint
