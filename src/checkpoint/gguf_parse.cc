// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_parse.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

constexpr uint64_t kMaxStringBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 24;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMaxExtent = uint64_t{1} << 31;
constexpr uint64_t kMaxTensors = 100'000;
constexpr uint64_t kMaxKeys = 100'000;
constexpr size_t kMaxTensorNameBytes = 63;
constexpr uint32_t kMaxDims = 4;
// Fewest bytes of a key-value pair (length 8, key 1, type 4, value 1) and of a tensor record
// (length 8, name 1, n_dims 4, one extent 8, type 4, offset 8).
constexpr uint64_t kMinKeyBytes = 14;
constexpr uint64_t kMinTensorBytes = 33;

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  GgufHeader parse() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      const std::string_view start(reinterpret_cast<const char*>(bytes_.data()),
                                   std::min<size_t>(bytes_.size(), 4));
      reject("magic", in_quotes(start), "\"GGUF\"");
    }
    position_ = 4;
    header_.version = read<uint32_t>("version");
    if (header_.version != 2 && header_.version != 3) {
      const bool swapped = header_.version != 0 && (header_.version & 0xffff) == 0;
      reject("version", fmt::format("{}{}", header_.version, swapped ? " (a big-endian file)" : ""),
             "2 or 3, little-endian");
    }
    const uint64_t tensor_count = read<uint64_t>("tensor count");
    const uint64_t key_count = read<uint64_t>("metadata count");
    check_count("tensor count", tensor_count, kMinTensorBytes, kMaxTensors);
    check_count("metadata count", key_count, kMinKeyBytes, kMaxKeys);
    for (uint64_t i = 0; i < key_count; ++i) read_pair(i);
    read_alignment();
    for (uint64_t i = 0; i < tensor_count; ++i) read_tensor(i);
    place_tensors();
    return std::move(header_);
  }

 private:
  [[noreturn]] void reject(std::string parameter, std::string found, std::string required) const {
    fail(ErrorKind::kGguf, where_, std::move(parameter), std::move(found), std::move(required));
  }

  uint64_t remaining() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t count, const std::string& what) {
    if (count > remaining()) {
      reject(what, fmt::format("the end of the file after {} bytes", bytes_.size()),
             fmt::format("{} bytes at offset {}", count, position_));
    }
    const auto result = bytes_.subspan(position_, count);
    position_ += count;
    return result;
  }

  template <typename T>
  T read(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view read_string(const std::string& what) {
    const uint64_t length = read<uint64_t>(what);
    if (length > kMaxStringBytes || length > remaining()) {
      reject(what, fmt::format("a string of {} bytes", length),
             fmt::format("at most {} bytes", std::min(kMaxStringBytes, remaining())));
    }
    const auto data = take(length, what);
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }

  void check_utf8(std::string_view text, const std::string& what) const {
    if (!simdjson::validate_utf8(text.data(), text.size())) {
      reject(what, in_quotes(text), "valid UTF-8");
    }
  }

  // `cap` is the loader's limit; below it the file's size decides.
  static std::string at_most(uint64_t most, uint64_t cap) {
    return fmt::format("at most {}{}", most, most < cap ? " in the rest of the file" : "");
  }

  void check_count(const char* what, uint64_t count, uint64_t min_bytes, uint64_t cap) const {
    const uint64_t most = std::min(cap, remaining() / min_bytes);
    if (count > most) reject(what, std::to_string(count), at_most(most, cap));
  }

  void read_pair(uint64_t index) {
    const std::string what = fmt::format("key of metadata {}", index);
    GgufValue value;
    value.key = read_string(what);
    if (value.key.empty()) reject(what, "an empty key", "a non-empty key");
    check_utf8(value.key, what);
    const std::string label = "metadata " + in_quotes(value.key);
    if (!keys_.insert(value.key).second) reject(label, "the key twice", "unique keys");
    value.type = read_type(label + " type");
    if (value.type == GgufValueType::kArray) {
      read_array(label, value);
    } else if (value.type == GgufValueType::kString) {
      const std::string_view text = read_string(label);
      check_utf8(text, label);
      value.data = std::as_bytes(std::span(text));
    } else {
      value.data = take(size_of(value.type), label);
      if (value.type == GgufValueType::kBool) check_bools(label, value.data);
    }
    header_.metadata.push_back(value);
  }

  GgufValueType read_type(const std::string& what) {
    const uint32_t type = read<uint32_t>(what);
    if (type > static_cast<uint32_t>(GgufValueType::kF64)) {
      reject(what, std::to_string(type), "0 to 12");
    }
    return static_cast<GgufValueType>(type);
  }

  void read_array(const std::string& label, GgufValue& value) {
    value.element_type = read_type(label + " element type");
    if (value.element_type == GgufValueType::kArray) {
      reject(label + " element type", "an array of arrays", "an array of scalars or strings");
    }
    value.count = read<uint64_t>(label + " length");
    const bool strings = value.element_type == GgufValueType::kString;
    const uint64_t element_bytes = strings ? 8 : size_of(value.element_type);
    const uint64_t most = std::min(kMaxArrayElements, remaining() / element_bytes);
    if (value.count > most) {
      reject(label + " length", std::to_string(value.count), at_most(most, kMaxArrayElements));
    }
    if (!strings) {
      value.data = take(value.count * element_bytes, label);
      if (value.element_type == GgufValueType::kBool) check_bools(label, value.data);
      return;
    }
    const uint64_t begin = position_;
    for (uint64_t i = 0; i < value.count; ++i) read_string(label);
    value.data = bytes_.subspan(begin, position_ - begin);
  }

  void check_bools(const std::string& label, std::span<const std::byte> values) const {
    for (std::byte b : values) {
      if (b > std::byte{1}) {
        reject(label, fmt::format("bool byte {}", static_cast<int>(b)), "0 or 1");
      }
    }
  }

  void read_alignment() {
    const GgufValue* value = header_.find("general.alignment");
    if (value == nullptr) return;
    if (value->type != GgufValueType::kU32) {
      reject("general.alignment", std::string(name(value->type)), "u32");
    }
    uint32_t alignment = 0;
    std::memcpy(&alignment, value->data.data(), sizeof(alignment));
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
      reject("general.alignment", std::to_string(alignment), "a power of two up to 2^20");
    }
    header_.alignment = alignment;
  }

  // Offsets stay relative to the data section in `begin` until place_tensors().
  void read_tensor(uint64_t index) {
    const std::string what = fmt::format("name of tensor {}", index);
    const std::string_view name = read_string(what);
    if (name.empty() || name.size() > kMaxTensorNameBytes) {
      reject(what, fmt::format("{} bytes", name.size()), "1 to 63 bytes");
    }
    check_utf8(name, what);
    const std::string label = "tensor " + in_quotes(name);
    if (!names_.insert(name).second) reject(label, "the name twice", "unique names");
    GgufTensor tensor;
    tensor.name = name;
    const uint32_t dims = read<uint32_t>(label + " n_dims");
    if (dims < 1 || dims > kMaxDims) reject(label + " n_dims", std::to_string(dims), "1 to 4");
    for (uint32_t d = 0; d < dims; ++d) {
      const uint64_t extent = read<uint64_t>(label + " extent");
      if (extent < 1 || extent > kMaxExtent) {
        reject(fmt::format("{} extent {}", label, d), std::to_string(extent), "1 to 2^31");
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    tensor.type = read<uint32_t>(label + " type");
    tensor.begin = read<uint64_t>(label + " offset");
    header_.tensors.push_back(std::move(tensor));
  }

  // Bytes of a tensor; nullopt for an unknown type.
  std::optional<uint64_t> byte_size(const GgufTensor& tensor) const {
    const std::string label = "tensor " + in_quotes(tensor.name);
    const auto count = base::checked_product(tensor.shape);
    if (!count) reject(label, to_string(tensor.shape), "fewer than 2^63 elements");
    const GgufTypeInfo* info = gguf_type_info(tensor.type);
    if (info == nullptr) return std::nullopt;
    if (tensor.shape.back() % info->block_elements != 0) {
      reject(label + " row length", std::to_string(tensor.shape.back()),
             fmt::format("a multiple of {}, the block of {}", info->block_elements, info->name));
    }
    const auto bytes = base::checked_mul(*count / info->block_elements, info->block_bytes);
    if (!bytes) reject(label, to_string(tensor.shape), "fewer than 2^63 bytes");
    return static_cast<uint64_t>(*bytes);
  }

  void place_tensors() {
    if (header_.tensors.empty()) return;
    const uint64_t data_begin = align(position_);
    if (data_begin > bytes_.size()) {
      reject("data section", fmt::format("the end of the file after {} bytes", bytes_.size()),
             fmt::format("data from offset {}", data_begin));
    }
    const uint64_t data_bytes = bytes_.size() - data_begin;
    uint64_t expected = 0;          // offset of the next tensor
    GgufTensor* unknown = nullptr;  // the tensor before, if its size is not known
    for (GgufTensor& tensor : header_.tensors) {
      const std::string label = "tensor " + in_quotes(tensor.name);
      const uint64_t offset = tensor.begin;
      const bool fits = unknown != nullptr ? offset > expected && offset % header_.alignment == 0
                                           : offset == expected;
      if (!fits) {
        reject(label + " offset", std::to_string(offset),
               unknown != nullptr
                   ? fmt::format("a multiple of {} above {}", header_.alignment, expected)
                   : fmt::format("{}, where the tensor before ends", expected));
      }
      const std::optional<uint64_t> size = byte_size(tensor);
      // An unknown type has at least one byte of data.
      const uint64_t least = size.value_or(1);
      if (offset > data_bytes || least > data_bytes - offset) {
        reject(label,
               fmt::format("{} bytes of data at offset {}",
                           data_bytes - std::min(offset, data_bytes), offset),
               fmt::format("{} bytes", least));
      }
      tensor.begin = data_begin + offset;
      tensor.end = size ? tensor.begin + *size : bytes_.size();
      if (unknown != nullptr) unknown->end = tensor.begin;
      unknown = size ? nullptr : &tensor;
      expected = size ? align(offset + *size) : offset;
    }
  }

  // Cannot overflow: every argument is at most the size of the file.
  uint64_t align(uint64_t value) const {
    return (value + header_.alignment - 1) & ~(header_.alignment - 1);
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  uint64_t position_ = 0;
  GgufHeader header_;
  std::unordered_set<std::string_view> keys_;
  std::unordered_set<std::string_view> names_;
};

}  // namespace

const GgufValue* GgufHeader::find(std::string_view key) const {
  for (const GgufValue& value : metadata) {
    if (value.key == key) return &value;
  }
  return nullptr;
}

GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& where) {
  return Parser(bytes, where).parse();
}

std::vector<std::string_view> decode_strings(const GgufValue& value) {
  std::vector<std::string_view> out;
  out.reserve(value.count);  // at least 8 bytes of the file each
  const char* data = reinterpret_cast<const char*>(value.data.data());
  for (uint64_t i = 0; i < value.count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, data, sizeof(length));
    out.emplace_back(data + sizeof(length), length);
    data += sizeof(length) + length;
  }
  return out;
}

}  // namespace mlxn::checkpoint
