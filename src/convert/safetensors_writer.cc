// SPDX-License-Identifier: Apache-2.0
#include "convert/safetensors_writer.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

namespace mlxn::convert {
namespace {

using Json = nlohmann::ordered_json;

struct Array {
  std::string name;
  const char* dtype;
  size_t element_bytes;
  Shape shape;
  uint64_t bytes;
  uint64_t* at;  // the offset in the tensor's plan
};

const char* dtype_name(DType dtype) {
  if (dtype == DType::kU8) return "U8";
  return dtype == DType::kF16 ? "F16" : dtype == DType::kBF16 ? "BF16" : "F32";
}

DType dense_dtype(Format format) {
  return format == Format::kF16    ? DType::kF16
         : format == Format::kBF16 ? DType::kBF16
                                   : DType::kF32;
}

std::vector<Array> arrays_of(PlannedTensor& tensor) {
  const Encoding& e = tensor.encoding;
  if (!e.is_mlx()) {
    const DType dtype = dense_dtype(e.format);
    return {{tensor.name, dtype_name(dtype), size_of(dtype), tensor.shape, tensor.data_bytes(),
             &tensor.data_at}};
  }
  Shape codes = tensor.shape, groups = tensor.shape;
  codes.back() = tensor.row_bytes() / 4;
  groups.back() = tensor.row_groups();
  const char* dtype = dtype_name(e.scale_dtype);
  const size_t element = size_of(e.scale_dtype);
  std::vector<Array> arrays = {
      {tensor.name + ".weight", "U32", 4, codes, tensor.data_bytes(), &tensor.data_at},
      {tensor.name + ".scales", dtype, element, groups, tensor.scale_bytes(), &tensor.scales_at}};
  if (e.is_affine()) {
    arrays.push_back(
        {tensor.name + ".biases", dtype, element, groups, tensor.scale_bytes(), &tensor.biases_at});
  }
  return arrays;
}

// Cuts the list; sets `file` of the tensors. The number of shards.
size_t divide(std::vector<PlannedTensor>& tensors, uint64_t max_shard_bytes) {
  size_t shard = 0;
  uint64_t bytes = 0;
  for (PlannedTensor& tensor : tensors) {
    const uint64_t more = tensor.total_bytes();
    if (bytes > 0 && bytes + more > max_shard_bytes) {
      ++shard;
      bytes = 0;
    }
    bytes += more;
    tensor.file = shard;
  }
  return shard + 1;
}

void lay_out(std::vector<PlannedTensor>& tensors, size_t index, Shard& shard) {
  std::vector<Array> arrays;
  for (PlannedTensor& tensor : tensors) {
    if (tensor.file != index) continue;
    for (Array& array : arrays_of(tensor)) arrays.push_back(std::move(array));
  }
  uint64_t offset = 0;
  for (const size_t element_bytes : {size_t{4}, size_t{2}, size_t{1}}) {
    for (const Array& array : arrays) {
      if (array.element_bytes != element_bytes) continue;
      *array.at = offset;
      offset += array.bytes;
    }
  }
  Json header;
  header["__metadata__"] = {{"format", "mlx"}};
  for (const Array& array : arrays) {
    header[array.name] = {{"dtype", array.dtype},
                          {"shape", array.shape},
                          {"data_offsets", {*array.at, *array.at + array.bytes}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  shard.header.assign(reinterpret_cast<const char*>(&length), sizeof(length));
  shard.header += text;
  shard.file_bytes = shard.header.size() + offset;
  for (const Array& array : arrays) *array.at += shard.header.size();
}

}  // namespace

std::vector<Shard> plan_shards(std::vector<PlannedTensor>& tensors, uint64_t max_shard_bytes) {
  std::vector<Shard> shards(divide(tensors, max_shard_bytes));
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    lay_out(tensors, i, shards[i]);
  }
  return shards;
}

std::string shard_index(const std::vector<PlannedTensor>& tensors,
                        const std::vector<Shard>& shards) {
  uint64_t bytes = 0, parameters = 0;
  std::map<std::string, std::string> files;
  for (const PlannedTensor& tensor : tensors) {
    bytes += tensor.total_bytes();
    parameters += static_cast<uint64_t>(tensor.rows() * tensor.cols());
    PlannedTensor copy = tensor;
    for (const Array& array : arrays_of(copy)) files[array.name] = shards[tensor.file].name;
  }
  Json index;
  index["metadata"] = {{"total_size", bytes}, {"total_parameters", parameters}};
  index["weight_map"] = files;
  return index.dump(1, '\t', true) + "\n";
}

}  // namespace mlxn::convert
