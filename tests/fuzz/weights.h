// SPDX-License-Identifier: Apache-2.0
// Loading what a damaged file calls a weight.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/load_tensor.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/tensor_table.h"
#include "mlxn/device.h"
#include "mlxn/weight.h"
#include "quant/registry.h"
#include "tests/fuzz/harness.h"

namespace mlxn::fuzz {

inline constexpr int64_t kMaxDecoded = 1
                                       << 16;  // elements: a row is decoded for its decoder's sake

// One tensor as a weight of the shape that its own size says, with one row of blocks decoded.
inline void load_one(const Device& device, const checkpoint::TensorTable& table,
                     const checkpoint::QuantConfig& quant, const std::string& name,
                     const Shape& shape) {
  constexpr std::string_view kEnd = ".weight";
  const bool is_module = name.size() > kEnd.size() && name.ends_with(kEnd);
  const std::string path = is_module ? name.substr(0, name.size() - kEnd.size()) : name;
  const Weight weight = checkpoint::load_weight(device, table, {path, name}, quant, shape);
  check_weight(weight, "weight");
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases}) {
    if (buffer->valid()) touch({buffer->data(), buffer->byte_len()});
  }
  const quant::FormatTraits& traits = quant::traits_of(weight.format);
  const int64_t columns = weight.shape.back();
  if (traits.block_elements > 1 && traits.decode_row != nullptr && columns <= kMaxDecoded) {
    std::vector<float> row(static_cast<size_t>(columns));
    traits.decode_row(weight.data.data(), columns, row.data());
  }
}

// Every tensor, each failing for itself.
inline void load_all(const Device& device, const checkpoint::TensorTable& table,
                     const checkpoint::QuantConfig& quant, int64_t codes_per_word) {
  for (const auto& [name, tensor] : table.all()) {
    Shape shape = tensor.shape;
    if (tensor.type == checkpoint::StoredType::kU32 && !shape.empty() &&
        shape.back() < int64_t{1} << 40) {
      shape.back() *= codes_per_word;
    }
    expect_typed({table.error_kind(), ErrorKind::kQuantConfig, ErrorKind::kUnsupportedDtype,
                  ErrorKind::kInvalidArgument},
                 [&, &name = name] { load_one(device, table, quant, name, shape); });
  }
}

}  // namespace mlxn::fuzz
