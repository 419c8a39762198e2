// SPDX-License-Identifier: Apache-2.0
// From bytes in a mapped file to device buffers and weights.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/names.h"
#include "checkpoint/quant_config.h"
#include "checkpoint/tensor_table.h"
#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/weight.h"

namespace mlxn::checkpoint {

// The matrix or stack stored under `module`: dense, GGUF blocks, or codes and scales of MLX (if
// <path>.scales exists). Buffers wrap the mapped file; misaligned data are copied to the device.
Weight load_weight(const Device& device, const TensorTable& table, const NameMap::Module& module,
                   const QuantConfig& quant, const Shape& expected_shape);

// A dense tensor as stored.
Buffer load_plain(const Device& device, const TensorTable& table, const std::string& name,
                  const Shape& expected_shape);

// A dense tensor of expected_count elements, widened.
std::vector<float> load_floats(const TensorTable& table, const std::string& name,
                               int64_t expected_count);

}  // namespace mlxn::checkpoint
