// SPDX-License-Identifier: Apache-2.0
#include "convert/gguf_writer.h"

#include "quant/registry.h"

namespace mlxn::convert {
namespace {

using checkpoint::GgufValueType;

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // what readers assume without general.alignment

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

uint64_t aligned(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void GgufMetadata::begin(std::string_view key, GgufValueType type) {
  put_text(bytes_, key);
  put(bytes_, static_cast<uint32_t>(type));
  ++count_;
}

void GgufMetadata::begin_array(std::string_view key, GgufValueType type, size_t count) {
  begin(key, GgufValueType::kArray);
  put(bytes_, static_cast<uint32_t>(type));
  put(bytes_, static_cast<uint64_t>(count));
}

void GgufMetadata::u32(std::string_view key, int64_t value) {
  begin(key, GgufValueType::kU32);
  put(bytes_, static_cast<uint32_t>(value));
}

void GgufMetadata::f32(std::string_view key, double value) {
  begin(key, GgufValueType::kF32);
  put(bytes_, static_cast<float>(value));
}

void GgufMetadata::boolean(std::string_view key, bool value) {
  begin(key, GgufValueType::kBool);
  put(bytes_, static_cast<uint8_t>(value));
}

void GgufMetadata::text(std::string_view key, std::string_view value) {
  begin(key, GgufValueType::kString);
  put_text(bytes_, value);
}

void GgufMetadata::i32s(std::string_view key, const std::vector<int64_t>& values) {
  begin_array(key, GgufValueType::kI32, values.size());
  for (int64_t value : values) put(bytes_, static_cast<int32_t>(value));
}

void GgufMetadata::f32s(std::string_view key, const std::vector<float>& values) {
  begin_array(key, GgufValueType::kF32, values.size());
  for (float value : values) put(bytes_, value);
}

void GgufMetadata::booleans(std::string_view key, const std::vector<bool>& values) {
  begin_array(key, GgufValueType::kBool, values.size());
  for (bool value : values) put(bytes_, static_cast<uint8_t>(value));
}

void GgufMetadata::texts(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, GgufValueType::kString, values.size());
  for (const std::string& value : values) put_text(bytes_, value);
}

void GgufMetadata::copy(const checkpoint::GgufValue& value) {
  begin(value.key, value.type);
  if (value.type == GgufValueType::kString) put(bytes_, static_cast<uint64_t>(value.data.size()));
  if (value.type == GgufValueType::kArray) {
    put(bytes_, static_cast<uint32_t>(value.element_type));
    put(bytes_, value.count);
  }
  bytes_.append(reinterpret_cast<const char*>(value.data.data()), value.data.size());
}

std::string gguf_header(const GgufMetadata& metadata, std::vector<PlannedTensor>& tensors,
                        uint64_t& file_bytes) {
  std::string out = "GGUF";
  put(out, kVersion);
  put(out, static_cast<uint64_t>(tensors.size()));
  put(out, metadata.count());
  out += metadata.bytes();
  uint64_t offset = 0;  // from the first tensor's byte
  for (PlannedTensor& tensor : tensors) {
    const Shape shape = tensor.shape.empty() ? Shape{1} : tensor.shape;
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(shape.size()));
    for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) {  // innermost first
      put(out, static_cast<uint64_t>(*extent));
    }
    put(out, static_cast<uint32_t>(quant::traits_of(tensor.encoding.format).gguf_type));
    put(out, offset);
    tensor.data_at = offset;
    offset = aligned(offset + tensor.data_bytes());
  }
  out.resize(aligned(out.size()));
  for (PlannedTensor& tensor : tensors) tensor.data_at += out.size();
  file_bytes = out.size() + offset;
  return out;
}

}  // namespace mlxn::convert
