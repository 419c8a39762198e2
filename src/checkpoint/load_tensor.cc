// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/load_tensor.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "base/checked.h"
#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

// Kernels read block formats through 4-byte loads at most.
constexpr size_t kBlockAlignment = 4;

std::optional<DType> dense_dtype(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return DType::kF32;
    case StoredType::kF16:
      return DType::kF16;
    case StoredType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

std::optional<Format> block_format(StoredType type) {
  switch (type) {
    case StoredType::kQ4_0:
      return Format::kQ4_0;
    case StoredType::kQ8_0:
      return Format::kQ8_0;
    case StoredType::kQ4_K:
      return Format::kQ4_K;
    case StoredType::kQ6_K:
      return Format::kQ6_K;
    default:
      return std::nullopt;
  }
}

Format dense_format(DType dtype) {
  return dtype == DType::kF32 ? Format::kF32 : dtype == DType::kF16 ? Format::kF16 : Format::kBF16;
}

[[noreturn]] void reject(const TensorTable& table, const StoredTensor& tensor,
                         const std::string& name, std::string found, std::string required) {
  fail(table.error_kind(), tensor.file->path(), "tensor " + in_quotes(name), std::move(found),
       std::move(required));
}

[[noreturn]] void reject_type(const StoredTensor& tensor, const std::string& name,
                              const char* required) {
  fail(ErrorKind::kUnsupportedDtype, tensor.file->path(), "tensor " + in_quotes(name),
       tensor.type_name, required);
}

const StoredTensor& require(const TensorTable& table, const std::string& name) {
  const StoredTensor* tensor = table.find(name);
  if (tensor == nullptr) {
    fail(table.error_kind(), table.where(), "tensor " + in_quotes(name), "nothing", "the tensor");
  }
  return *tensor;
}

// GGUF writers drop outermost extents of 1.
Shape without_leading_ones(const Shape& shape) {
  size_t first = 0;
  while (first + 1 < shape.size() && shape[first] == 1) ++first;
  return Shape(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end());
}

void check_shape(const TensorTable& table, const StoredTensor& tensor, const std::string& name,
                 const Shape& found, const Shape& expected) {
  const bool same = table.error_kind() == ErrorKind::kGguf
                        ? without_leading_ones(found) == without_leading_ones(expected)
                        : found == expected;
  if (!same) reject(table, tensor, name, "shape " + to_string(found), to_string(expected));
  for (int64_t extent : expected) {
    if (extent == 0) reject(table, tensor, name, "an empty tensor", "at least one element");
  }
}

// The whole tensor as a buffer over the mapped file, or a copy if it is misaligned there.
Buffer place(const Device& device, const StoredTensor& tensor, DType dtype, const Shape& shape,
             size_t alignment) {
  const std::byte* data = tensor.bytes.data();
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0) {
    return device.wrap(data, tensor.bytes.size(), dtype, shape, tensor.file);
  }
  return device.upload(data, dtype, shape);
}

Weight load_dense(const Device& device, const StoredTensor& tensor, DType dtype,
                  const Shape& shape) {
  Weight weight;
  weight.format = dense_format(dtype);
  weight.shape = shape;
  weight.data = place(device, tensor, dtype, shape, size_of(dtype));
  return weight;
}

Weight load_blocks(const Device& device, const StoredTensor& tensor, Format format,
                   const Shape& shape) {
  Weight weight;
  weight.format = format;
  weight.shape = shape;
  weight.data = place(device, tensor, DType::kU8, {static_cast<int64_t>(tensor.bytes.size())},
                      kBlockAlignment);
  return weight;
}

Shape with_last(Shape shape, int64_t last) {
  shape.back() = last;
  return shape;
}

// weight.shape[-1] * 32 / bits must equal scales.shape[-1] * group_size, leading extents must
// agree.
Weight load_affine(const Device& device, const TensorTable& table, const NameMap::Module& module,
                   const QuantConfig& quant, const Shape& expected) {
  const StoredTensor& data = require(table, module.weight);
  const StoredTensor& scales = require(table, module.path + ".scales");
  const auto reject_config = [&](std::string found, std::string required) {
    fail(ErrorKind::kQuantConfig, data.file->path(), "module " + in_quotes(module.path),
         std::move(found), std::move(required));
  };
  if (!quant.present()) {
    reject_config("quantised tensors", "a quantization section in config.json");
  }
  const auto params = quant.find(module.path);
  if (!params) reject_config("quantised tensors", "plain ones, as quantization says false");
  quant.check(*params, module.path);
  if (data.type != StoredType::kU32) reject_type(data, module.weight, "U32 codes");
  const auto dtype = dense_dtype(scales.type);
  if (!dtype) reject_type(scales, module.path + ".scales", "F32, F16 or BF16");
  if (data.shape.empty() || scales.shape.size() != data.shape.size()) {
    reject(table, scales, module.path + ".scales", "shape " + to_string(scales.shape),
           "the rank of the weight, " + to_string(data.shape));
  }
  const auto code_bits = base::checked_mul(data.shape.back(), int64_t{32});
  const auto inputs = base::checked_mul(scales.shape.back(), params->group_size);
  const auto input_bits = inputs ? base::checked_mul(*inputs, params->bits) : std::nullopt;
  if (!code_bits || !input_bits || *code_bits != *input_bits) {
    reject_config(fmt::format("bits {}, group_size {}", params->bits, params->group_size),
                  fmt::format("values that fit weight {} and scales {}", to_string(data.shape),
                              to_string(scales.shape)));
  }
  check_shape(table, data, module.weight, with_last(data.shape, *inputs), expected);
  const Shape scales_shape = with_last(data.shape, scales.shape.back());
  check_shape(table, scales, module.path + ".scales", scales.shape, scales_shape);
  const StoredTensor& biases = require(table, module.path + ".biases");
  if (biases.type != scales.type) {
    reject_type(biases, module.path + ".biases", "the type of the scales");
  }
  check_shape(table, biases, module.path + ".biases", biases.shape, scales_shape);

  Weight weight;
  weight.format = Format::kAffine;
  weight.shape = expected;
  weight.bits = static_cast<int>(params->bits);
  weight.group_size = static_cast<int>(params->group_size);
  weight.data = place(device, data, DType::kU32, data.shape, size_of(DType::kU32));
  weight.scales = place(device, scales, *dtype, scales.shape, size_of(*dtype));
  weight.biases = place(device, biases, *dtype, biases.shape, size_of(*dtype));
  return weight;
}

float load_float(StoredType type, const std::byte* data) {
  if (type == StoredType::kF32) {
    float value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data, sizeof(bits));
  return type == StoredType::kF16 ? to_float(F16{bits}) : to_float(BF16{bits});
}

}  // namespace

Weight load_weight(const Device& device, const TensorTable& table, const NameMap::Module& module,
                   const QuantConfig& quant, const Shape& expected_shape) {
  const StoredTensor& tensor = require(table, module.weight);
  if (table.find(module.path + ".scales") != nullptr) {
    return load_affine(device, table, module, quant, expected_shape);
  }
  const auto dtype = dense_dtype(tensor.type);
  const auto format = block_format(tensor.type);
  if (!dtype && !format) {
    reject_type(tensor, module.weight,
                table.error_kind() == ErrorKind::kGguf ? "F32, F16, BF16, Q4_0, Q8_0, Q4_K or Q6_K"
                                                       : "F32, F16, BF16, or U32 with scales");
  }
  check_shape(table, tensor, module.weight, tensor.shape, expected_shape);
  return dtype ? load_dense(device, tensor, *dtype, expected_shape)
               : load_blocks(device, tensor, *format, expected_shape);
}

Buffer load_plain(const Device& device, const TensorTable& table, const std::string& name,
                  const Shape& expected_shape) {
  const StoredTensor& tensor = require(table, name);
  const auto dtype = dense_dtype(tensor.type);
  if (!dtype) reject_type(tensor, name, "F32, F16 or BF16");
  check_shape(table, tensor, name, tensor.shape, expected_shape);
  return place(device, tensor, *dtype, expected_shape, size_of(*dtype));
}

std::vector<float> load_floats(const TensorTable& table, const std::string& name,
                               int64_t expected_count) {
  const StoredTensor& tensor = require(table, name);
  const auto dtype = dense_dtype(tensor.type);
  if (!dtype) reject_type(tensor, name, "F32, F16 or BF16");
  const auto count = base::checked_product(tensor.shape);
  if (!count || *count != expected_count) {
    reject(table, tensor, name, "shape " + to_string(tensor.shape),
           fmt::format("{} elements", expected_count));
  }
  std::vector<float> out(static_cast<size_t>(expected_count));
  const std::byte* data = tensor.bytes.data();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = load_float(tensor.type, data + i * size_of(*dtype));
  }
  return out;
}

}  // namespace mlxn::checkpoint
