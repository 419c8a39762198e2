// SPDX-License-Identifier: Apache-2.0
// For tests of this room: golden models, and what was written read back.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_impl.h"
#include "checkpoint/test_util.h"
#include "convert/plan.h"
#include "mlxn/quantize.h"

namespace mlxn::convert {

using checkpoint::expect_error;
using checkpoint::read_file;
using checkpoint::TempDir;

inline std::string golden(const std::string& model) {
  return std::string(MLXN_SOURCE_DIR) + "/tests/goldens/" + model;
}

inline std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A copy of a golden model whose config.json is changed.
template <typename Edit>
std::string edited_golden(const TempDir& dir, const std::string& model, Edit edit) {
  const std::string copy = dir.path("edited_" + model);
  std::filesystem::create_directory(copy);
  std::filesystem::copy_file(golden(model) + "/model.safetensors", copy + "/model.safetensors");
  auto config = nlohmann::ordered_json::parse(read_file(golden(model) + "/config.json"));
  edit(config);
  dir.write("edited_" + model + "/config.json", config.dump());
  return copy;
}

inline std::string bytes_of(const Checkpoint& checkpoint, const std::string& name) {
  const checkpoint::StoredTensor* tensor = checkpoint.impl().tensors.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (tensor == nullptr) return {};
  return std::string(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size());
}

// Values of a dense or block tensor.
inline std::vector<float> floats_of(const checkpoint::StoredTensor& tensor) {
  const quant::FormatTraits* traits = stored_format(tensor);
  const int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
  const int64_t row_bytes = quant::row_bytes(traits->format, 0, cols);
  const auto rows = static_cast<int64_t>(tensor.bytes.size()) / row_bytes;
  std::vector<float> values(static_cast<size_t>(rows * cols));
  for (int64_t row = 0; row < rows; ++row) {
    traits->decode_row(tensor.bytes.data() + row * row_bytes, cols, values.data() + row * cols);
  }
  return values;
}

inline std::vector<float> floats_of(const Checkpoint& checkpoint, const std::string& name) {
  const checkpoint::StoredTensor* tensor = checkpoint.impl().tensors.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  return tensor == nullptr ? std::vector<float>() : floats_of(*tensor);
}

}  // namespace mlxn::convert
