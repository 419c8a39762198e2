// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <unordered_set>

#include "base/checked.h"
#include "checkpoint/fail.h"
#include "checkpoint/json.h"

namespace mlxn::checkpoint {
namespace {

namespace dom = simdjson::dom;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxDepth = 8;  // a valid header nests 3 deep

struct TypeRow {
  std::string_view name;
  SafetensorsType type;
  size_t bytes;
};
constexpr std::array<TypeRow, 17> kTypes = {{
    {"BOOL", SafetensorsType::kBool, 1},
    {"U8", SafetensorsType::kU8, 1},
    {"I8", SafetensorsType::kI8, 1},
    {"F8_E5M2", SafetensorsType::kF8E5M2, 1},
    {"F8_E4M3", SafetensorsType::kF8E4M3, 1},
    {"F8_E8M0", SafetensorsType::kF8E8M0, 1},
    {"I16", SafetensorsType::kI16, 2},
    {"U16", SafetensorsType::kU16, 2},
    {"F16", SafetensorsType::kF16, 2},
    {"BF16", SafetensorsType::kBF16, 2},
    {"I32", SafetensorsType::kI32, 4},
    {"U32", SafetensorsType::kU32, 4},
    {"F32", SafetensorsType::kF32, 4},
    {"I64", SafetensorsType::kI64, 8},
    {"U64", SafetensorsType::kU64, 8},
    {"F64", SafetensorsType::kF64, 8},
    {"C64", SafetensorsType::kC64, 8},
}};

class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  std::vector<SafetensorsTensor> read() {
    const uint64_t header_bytes = read_header_length();
    data_begin_ = 8 + header_bytes;
    dom::parser parser;
    const dom::object header = parse_header(parser, header_bytes);
    std::vector<SafetensorsTensor> tensors;
    std::unordered_set<std::string_view> names;
    for (const auto member : header) {
      if (member.key.empty()) reject("tensor name", "an empty name", "a non-empty name");
      if (!names.insert(member.key).second) {
        reject(in_quotes(member.key), "the name twice", "unique names");
      }
      if (member.key == "__metadata__") {
        check_metadata(member.value);
      } else {
        tensors.push_back(read_entry(member.key, member.value));
      }
    }
    check_tiling(tensors);
    return tensors;
  }

 private:
  [[noreturn]] void reject(std::string parameter, std::string found, std::string required) const {
    fail(ErrorKind::kSafetensors, where_, std::move(parameter), std::move(found),
         std::move(required));
  }

  uint64_t read_header_length() const {
    if (bytes_.size() < 8) {
      reject("file size", fmt::format("{} bytes", bytes_.size()), "at least 8 bytes");
    }
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), 8);
    if (length == 0 || length > kMaxHeaderBytes || length > bytes_.size() - 8) {
      reject("header length", std::to_string(length),
             fmt::format("1 to {} bytes and at most the {} that follow", kMaxHeaderBytes,
                         bytes_.size() - 8));
    }
    return length;
  }

  dom::object parse_header(dom::parser& parser, uint64_t header_bytes) const {
    const char* text = reinterpret_cast<const char*>(bytes_.data()) + 8;
    if (text[0] != '{')
      reject("header", in_quotes({text, 1}), "a JSON object that starts with '{'");
    // simdjson reads past the end of its input: it gets a padded copy.
    const simdjson::padded_string padded(text, header_bytes);
    if (padded.data() == nullptr) throw std::bad_alloc();
    dom::element root;
    auto error = parser.allocate(header_bytes, kMaxDepth);
    if (!error) error = parser.parse(padded).get(root);
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();
    if (error) reject("header", simdjson::error_message(error), "valid JSON");
    if (!root.is_object()) reject("header", shown(root), "an object");
    return root;
  }

  // MLX writes null where there is nothing to say.
  void check_metadata(dom::element value) const {
    if (value.is_null()) return;
    if (!value.is_object()) reject("__metadata__", shown(value), "an object of strings");
    std::unordered_set<std::string_view> keys;
    for (const auto member : dom::object(value)) {
      if (!member.value.is_string()) {
        reject("__metadata__." + in_quotes(member.key), shown(member.value), "a string");
      }
      if (!keys.insert(member.key).second) {
        reject("__metadata__." + in_quotes(member.key), "the key twice", "unique keys");
      }
    }
  }

  SafetensorsTensor read_entry(std::string_view name, dom::element value) const {
    const std::string label = in_quotes(name);
    if (!value.is_object()) {
      reject(label, shown(value), "an object with dtype, shape and data_offsets");
    }
    SafetensorsTensor tensor;
    tensor.name = name;
    bool has_type = false, has_shape = false, has_offsets = false;
    for (const auto field : dom::object(value)) {
      bool* seen = field.key == "dtype"          ? &has_type
                   : field.key == "shape"        ? &has_shape
                   : field.key == "data_offsets" ? &has_offsets
                                                 : nullptr;
      if (seen == nullptr) {
        reject(label, "field " + in_quotes(field.key), "only dtype, shape and data_offsets");
      }
      if (*seen) reject(label + "." + std::string(field.key), "the field twice", "unique fields");
      *seen = true;
      if (seen == &has_type) read_type(label, field.value, tensor);
      if (seen == &has_shape) read_shape(label, field.value, tensor);
      if (seen == &has_offsets) read_offsets(label, field.value, tensor);
    }
    if (!has_type) reject(label + ".dtype", "nothing", "a dtype name");
    if (!has_shape) reject(label + ".shape", "nothing", "an array of extents");
    if (!has_offsets) reject(label + ".data_offsets", "nothing", "two offsets");
    check_size(label, tensor);
    return tensor;
  }

  void read_type(const std::string& label, dom::element value, SafetensorsTensor& tensor) const {
    std::string_view text;
    if (value.get(text) || text.empty()) reject(label + ".dtype", shown(value), "a dtype name");
    tensor.type_name = text;
    for (const TypeRow& row : kTypes) {
      if (row.name == text) tensor.type = row.type;
    }
  }

  // A non-negative integer below 2^63; floats and larger numbers are refused.
  int64_t read_extent(const std::string& label, dom::element value) const {
    int64_t extent = 0;
    if (!value.is<int64_t>() || value.get(extent) || extent < 0) {
      reject(label, shown(value), "an integer from 0 to 2^63-1");
    }
    return extent;
  }

  void read_shape(const std::string& label, dom::element value, SafetensorsTensor& tensor) const {
    if (!value.is_array()) reject(label + ".shape", shown(value), "an array of integers");
    for (dom::element extent : dom::array(value)) {
      tensor.shape.push_back(read_extent(label + ".shape", extent));
      if (tensor.shape.size() > kMaxRank) {
        reject(label + ".shape", "more than 8 extents", "rank 8 at most");
      }
    }
  }

  void read_offsets(const std::string& label, dom::element value, SafetensorsTensor& tensor) const {
    const std::string field = label + ".data_offsets";
    if (!value.is_array()) reject(field, shown(value), "an array of two integers");
    std::array<uint64_t, 2> offsets{};
    size_t count = 0;
    for (dom::element offset : dom::array(value)) {
      if (count == 2) reject(field, "more than two values", "an array of two integers");
      offsets[count++] = static_cast<uint64_t>(read_extent(field, offset));
    }
    if (count != 2) reject(field, fmt::format("{} values", count), "an array of two integers");
    const uint64_t data_bytes = bytes_.size() - data_begin_;
    if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
      reject(field, fmt::format("[{}, {}]", offsets[0], offsets[1]),
             fmt::format("begin <= end <= {}", data_bytes));
    }
    tensor.begin = data_begin_ + offsets[0];
    tensor.end = data_begin_ + offsets[1];
  }

  void check_size(const std::string& label, const SafetensorsTensor& tensor) const {
    const auto count = base::checked_product(tensor.shape);
    if (!count) reject(label + ".shape", to_string(tensor.shape), "fewer than 2^63 elements");
    if (tensor.type == SafetensorsType::kUnknown) return;
    const auto bytes = base::checked_mul(*count, static_cast<int64_t>(size_of(tensor.type)));
    const uint64_t stored = tensor.end - tensor.begin;
    if (!bytes || static_cast<uint64_t>(*bytes) != stored) {
      reject(label + ".data_offsets", fmt::format("{} bytes", stored),
             fmt::format("{} elements of {}, {} bytes", *count, tensor.type_name,
                         bytes ? std::to_string(*bytes) : "over 2^63"));
    }
  }

  // Sorted by offset the tensors must follow each other without gap or overlap up to the file's
  // end.
  void check_tiling(const std::vector<SafetensorsTensor>& tensors) const {
    std::vector<const SafetensorsTensor*> order;
    order.reserve(tensors.size());
    for (const SafetensorsTensor& tensor : tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
    });
    uint64_t position = data_begin_;
    for (const SafetensorsTensor* tensor : order) {
      if (tensor->begin != position) {
        reject(in_quotes(tensor->name) + ".data_offsets",
               std::to_string(tensor->begin - data_begin_),
               fmt::format("{}, where the tensor before ends", position - data_begin_));
      }
      position = tensor->end;
    }
    if (position != bytes_.size()) {
      reject("data section", fmt::format("{} bytes", bytes_.size() - data_begin_),
             fmt::format("{} bytes, as the tensors say", position - data_begin_));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  uint64_t data_begin_ = 0;
};

}  // namespace

size_t size_of(SafetensorsType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return row.bytes;
  }
  return 0;
}

std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> bytes,
                                                 const std::string& where) {
  return HeaderReader(bytes, where).read();
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile result;
  result.file = base::MappedFile::open(path);
  result.tensors = parse_safetensors(result.file->bytes(), path);
  return result;
}

}  // namespace mlxn::checkpoint
