// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/load_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "checkpoint/fail.h"
#include "checkpoint/gguf_types.h"
#include "quant/registry.h"

namespace mlxn::checkpoint {
namespace {

// Kernels read block formats through 4-byte loads at most.
constexpr size_t kBlockAlignment = 4;
constexpr int64_t kWordBits = 32;
constexpr int64_t kRowUnit = 32;  // elements; rows of codes are whole numbers of it
constexpr const char* kFloatTypes = "F32, F16 or BF16";

// "F32, F16, BF16, Q4_0, ...", by type id.
std::string gguf_type_list() {
  std::vector<uint32_t> ids;
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (traits.gguf_type >= 0) ids.push_back(static_cast<uint32_t>(traits.gguf_type));
  }
  std::sort(ids.begin(), ids.end());
  std::vector<std::string> names;
  for (const uint32_t id : ids) names.push_back(gguf_type_name(id));
  return fmt::format("{}", fmt::join(names, ", "));
}

[[noreturn]] void reject(const TensorTable& table, const StoredTensor& tensor,
                         const std::string& name, std::string found, std::string required) {
  fail(table.error_kind(), tensor.file->path(), "tensor " + in_quotes(name), std::move(found),
       std::move(required));
}

[[noreturn]] void reject_type(const StoredTensor& tensor, const std::string& name,
                              std::string required) {
  fail(ErrorKind::kUnsupportedDtype, tensor.file->path(), "tensor " + in_quotes(name),
       tensor.type_name, std::move(required));
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

// The whole tensor as a buffer over the mapped file, or a copy if it is misaligned there or the
// device has memory of its own. The pages that a copy was made of are needed no more.
Buffer place(const Device& device, const StoredTensor& tensor, DType dtype, const Shape& shape,
             size_t alignment) {
  const std::byte* data = tensor.bytes.data();
  const bool is_aligned = reinterpret_cast<uintptr_t>(data) % alignment == 0;
  Buffer buffer = is_aligned ? device.wrap(data, tensor.bytes.size(), dtype, shape, tensor.file)
                             : device.upload(data, dtype, shape);
  if (buffer.data() != data) tensor.file->let_go(tensor.bytes);
  return buffer;
}

// Floats or blocks.
Weight load_whole(const Device& device, const StoredTensor& tensor, const Shape& shape) {
  Weight weight;
  weight.format = tensor.format;
  weight.shape = shape;
  const auto dtype = float_type(tensor);
  weight.data = dtype ? place(device, tensor, *dtype, shape, size_of(*dtype))
                      : place(device, tensor, DType::kU8,
                              {static_cast<int64_t>(tensor.bytes.size())}, kBlockAlignment);
  return weight;
}

Shape with_last(Shape shape, int64_t last) {
  shape.back() = last;
  return shape;
}

// The tensors of a module with codes and scales.
struct CodedModule {
  const StoredTensor& data;
  const StoredTensor& scales;
  QuantParams params;
  Format format;
};

CodedModule find_coded(const TensorTable& table, const NameMap::Module& module,
                       const QuantConfig& quant) {
  const StoredTensor& data = require(table, module.weight);
  const auto reject_config = [&](std::string required) {
    fail(ErrorKind::kQuantConfig, data.file->path(), "module " + in_quotes(module.path),
         "quantised tensors", std::move(required));
  };
  if (!quant.present()) reject_config("a quantization section in config.json");
  const auto params = quant.find(module.path);
  if (!params) reject_config("plain ones, as quantization says false");
  quant.check(*params, module.path);
  if (data.type != StoredType::kU32) reject_type(data, module.weight, "U32 codes");
  return {data, require(table, module.path + ".scales"), *params,
          quant::format_of_mode(params->mode)};
}

// weight.shape[-1] * 32 / bits must equal scales.shape[-1] * group_size, leading extents must
// agree.
void check_coded(const TensorTable& table, const NameMap::Module& module, const CodedModule& coded,
                 const Shape& expected) {
  const auto& [data, scales, params, format] = coded;
  const std::string scales_name = module.path + ".scales";
  if (data.shape.empty() || scales.shape.size() != data.shape.size()) {
    reject(table, scales, scales_name, "shape " + to_string(scales.shape),
           "the rank of the weight, " + to_string(data.shape));
  }
  const auto code_bits = base::checked_mul(data.shape.back(), kWordBits);
  const auto inputs = base::checked_mul(scales.shape.back(), params.group_size);
  const auto input_bits = inputs ? base::checked_mul(*inputs, params.bits) : std::nullopt;
  if (!code_bits || !input_bits || *code_bits != *input_bits) {
    fail(ErrorKind::kQuantConfig, data.file->path(), "module " + in_quotes(module.path),
         fmt::format("bits {}, group_size {}", params.bits, params.group_size),
         fmt::format("values that fit weight {} and scales {}", to_string(data.shape),
                     to_string(scales.shape)));
  }
  check_shape(table, data, module.weight, with_last(data.shape, *inputs), expected);
  check_shape(table, scales, scales_name, scales.shape, with_last(data.shape, scales.shape.back()));
  if (*inputs % kRowUnit != 0) {
    reject(table, data, module.weight, fmt::format("rows of {} elements", *inputs),
           fmt::format("a multiple of {} ({})", kRowUnit, params.mode));
  }
}

Buffer load_biases(const Device& device, const TensorTable& table, const NameMap::Module& module,
                   const StoredTensor& scales, DType dtype) {
  const std::string name = module.path + ".biases";
  const StoredTensor& biases = require(table, name);
  if (float_type(biases) != dtype) reject_type(biases, name, "the type of the scales");
  check_shape(table, biases, name, biases.shape, scales.shape);
  return place(device, biases, dtype, biases.shape, size_of(dtype));
}

// A scale that is not a number would make every product with its group one.
void check_fp_scales(const TensorTable& table, const std::string& name, const StoredTensor& scales,
                     Format format) {
  const auto is_nan = [&](std::byte scale) {
    const auto bits = static_cast<uint8_t>(scale);
    return format == Format::kMlxNvfp4 ? (bits & 0x7f) == 0x7f : bits == 0xff;
  };
  // Compilers make vectors of a count, but not of a search, and a load comes here more than once.
  if (std::count_if(scales.bytes.begin(), scales.bytes.end(), is_nan) == 0) return;
  const auto bad = std::find_if(scales.bytes.begin(), scales.bytes.end(), is_nan);
  reject(table, scales, name,
         fmt::format("{:#04x} (not a number) in element {}", static_cast<uint8_t>(*bad),
                     bad - scales.bytes.begin()),
         fmt::format("finite {} scales", format == Format::kMlxNvfp4 ? "E4M3" : "E8M0"));
}

Weight load_coded(const Device& device, const TensorTable& table, const NameMap::Module& module,
                  const QuantConfig& quant, const Shape& expected) {
  const CodedModule coded = find_coded(table, module, quant);
  const auto& [data, scales, params, format] = coded;
  const std::string scales_name = module.path + ".scales";
  const bool is_affine = format == Format::kAffine;
  const auto dtype =
      is_affine ? float_type(scales)
                : (scales.type == StoredType::kU8 ? std::optional(DType::kU8) : std::nullopt);
  if (!dtype) {
    reject_type(scales, scales_name,
                fmt::format("{} ({})", is_affine ? kFloatTypes : "U8", params.mode));
  }
  check_coded(table, module, coded, expected);

  Weight weight;
  weight.format = format;
  weight.shape = expected;
  weight.bits = static_cast<int>(params.bits);
  weight.group_size = static_cast<int>(params.group_size);
  weight.data = place(device, data, DType::kU32, data.shape, size_of(DType::kU32));
  weight.scales = place(device, scales, *dtype, scales.shape, size_of(*dtype));
  if (is_affine) {
    weight.biases = load_biases(device, table, module, scales, *dtype);
    return weight;
  }
  check_fp_scales(table, scales_name, scales, format);
  if (const StoredTensor* biases = table.find(module.path + ".biases")) {
    reject(table, *biases, module.path + ".biases", "the tensor", "none for " + params.mode);
  }
  return weight;
}

float load_float(DType type, const std::byte* data) {
  if (type == DType::kF32) {
    float value;
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data, sizeof(bits));
  return type == DType::kF16 ? to_float(F16{bits}) : to_float(BF16{bits});
}

}  // namespace

Weight load_weight(const Device& device, const TensorTable& table, const NameMap::Module& module,
                   const QuantConfig& quant, const Shape& expected_shape) {
  const StoredTensor& tensor = require(table, module.weight);
  if (table.find(module.path + ".scales") != nullptr) {
    return load_coded(device, table, module, quant, expected_shape);
  }
  if (tensor.type != StoredType::kFormat) {
    const bool is_gguf = table.error_kind() == ErrorKind::kGguf;
    reject_type(tensor, module.weight,
                is_gguf ? gguf_type_list() : "F32, F16, BF16, or U32 with scales");
  }
  check_shape(table, tensor, module.weight, tensor.shape, expected_shape);
  return load_whole(device, tensor, expected_shape);
}

Buffer load_plain(const Device& device, const TensorTable& table, const std::string& name,
                  const Shape& expected_shape) {
  const StoredTensor& tensor = require(table, name);
  const auto dtype = float_type(tensor);
  if (!dtype) reject_type(tensor, name, kFloatTypes);
  check_shape(table, tensor, name, tensor.shape, expected_shape);
  return place(device, tensor, *dtype, expected_shape, size_of(*dtype));
}

std::vector<float> load_floats(const TensorTable& table, const std::string& name,
                               int64_t expected_count) {
  const StoredTensor& tensor = require(table, name);
  const auto dtype = float_type(tensor);
  if (!dtype) reject_type(tensor, name, kFloatTypes);
  const auto count = base::checked_product(tensor.shape);
  if (!count || *count != expected_count) {
    reject(table, tensor, name, "shape " + to_string(tensor.shape),
           fmt::format("{} elements", expected_count));
  }
  std::vector<float> out(static_cast<size_t>(expected_count));
  const std::byte* data = tensor.bytes.data();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = load_float(*dtype, data + i * size_of(*dtype));
  }
  return out;
}

}  // namespace mlxn::checkpoint
