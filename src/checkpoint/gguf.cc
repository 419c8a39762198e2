// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "checkpoint/fail.h"

namespace mlxn::checkpoint {
namespace {

constexpr int64_t kMaxParts = 99'999;  // five digits in the file name

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

bool is_integer(GgufValueType type) {
  return type != GgufValueType::kF32 && type != GgufValueType::kF64 &&
         type != GgufValueType::kBool && size_of(type) > 0;
}

// nullopt if the value does not fit into int64_t.
std::optional<int64_t> load_integer(GgufValueType type, const std::byte* data) {
  switch (type) {
    case GgufValueType::kU8:
      return load<uint8_t>(data);
    case GgufValueType::kI8:
      return load<int8_t>(data);
    case GgufValueType::kU16:
      return load<uint16_t>(data);
    case GgufValueType::kI16:
      return load<int16_t>(data);
    case GgufValueType::kU32:
      return load<uint32_t>(data);
    case GgufValueType::kI32:
      return load<int32_t>(data);
    case GgufValueType::kI64:
      return load<int64_t>(data);
    case GgufValueType::kU64: {
      const uint64_t value = load<uint64_t>(data);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::string describe(const GgufValue& value) {
  if (value.type != GgufValueType::kArray) return "type " + std::string(name(value.type));
  return fmt::format("an array of {} {}", value.count, name(value.element_type));
}

// "dir/name-00001-of-00003.gguf" -> "dir/name-00002-of-00003.gguf"; nullopt if the path does not
// end in the pattern of part 1 of `count`.
std::optional<std::string> part_path(const std::string& path, int64_t part, int64_t count) {
  const std::string first = fmt::format("-00001-of-{:05}.gguf", count);
  if (path.size() < first.size() ||
      path.compare(path.size() - first.size(), first.size(), first) != 0) {
    return std::nullopt;
  }
  return path.substr(0, path.size() - first.size()) +
         fmt::format("-{:05}-of-{:05}.gguf", part, count);
}

GgufFile::Part open_part(const std::string& path) {
  GgufFile::Part part;
  part.file = base::MappedFile::open(path);
  part.header = parse_gguf(part.file->bytes(), path);
  return part;
}

}  // namespace

std::shared_ptr<const GgufFile> GgufFile::open(const std::string& path) {
  auto result = std::make_shared<GgufFile>();
  result->path_ = path;
  result->parts_.push_back(open_part(path));
  result->open_other_parts();
  const auto architecture = result->text("general.architecture");
  if (!architecture || architecture->empty()) {
    result->reject("general.architecture", "nothing", "the name of an architecture");
  }
  result->architecture_ = *architecture;
  return result;
}

void GgufFile::open_other_parts() {
  const int64_t count = integer("split.count", 0, kMaxParts).value_or(0);
  if (count <= 1) return;
  const int64_t number = integer("split.no", 0, count - 1).value_or(0);
  if (number != 0) reject("split.no", std::to_string(number), "0: name the first part of a model");
  for (int64_t i = 2; i <= count; ++i) {
    const auto next = part_path(path_, i, count);
    if (!next) {
      reject("split.count", std::to_string(count),
             fmt::format("a file name that ends in -00001-of-{:05}.gguf", count));
    }
    GgufFile other;
    other.path_ = *next;
    other.parts_.push_back(open_part(*next));
    const auto its_number = other.integer("split.no", 0, kMaxParts);
    const auto its_count = other.integer("split.count", 0, kMaxParts);
    if (its_number != i - 1) {
      other.reject("split.no", its_number ? std::to_string(*its_number) : "nothing",
                   std::to_string(i - 1));
    }
    if (its_count != count) {
      other.reject("split.count", its_count ? std::to_string(*its_count) : "nothing",
                   std::to_string(count));
    }
    parts_.push_back(std::move(other.parts_[0]));
  }
  std::unordered_set<std::string_view> names;
  int64_t tensors = 0;
  for (const Part& part : parts_) {
    for (const GgufTensor& tensor : part.header.tensors) {
      ++tensors;
      if (!names.insert(tensor.name).second) {
        fail(ErrorKind::kGguf, part.file->path(), "tensor " + in_quotes(tensor.name),
             "the name in two parts", "unique names");
      }
    }
  }
  const auto stated = integer("split.tensors.count", 0, std::numeric_limits<int64_t>::max());
  if (stated && *stated != tensors) {
    reject("split.tensors.count", std::to_string(*stated),
           fmt::format("{}, the tensors of all parts", tensors));
  }
}

void GgufFile::reject(std::string_view key, std::string found, std::string required) const {
  fail(ErrorKind::kGguf, path_, std::string(key), std::move(found), std::move(required));
}

std::optional<int64_t> GgufFile::integer(std::string_view key, int64_t min, int64_t max) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string required = fmt::format("an integer from {} to {}", min, max);
  if (!is_integer(value->type)) reject(key, describe(*value), required);
  const auto number = load_integer(value->type, value->data.data());
  if (!number || *number < min || *number > max) {
    reject(key, number ? std::to_string(*number) : "2^63 or more", required);
  }
  return number;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  double number = 0;
  if (value->type == GgufValueType::kF32) {
    number = load<float>(value->data.data());
  } else if (value->type == GgufValueType::kF64) {
    number = load<double>(value->data.data());
  } else if (is_integer(value->type)) {
    number = static_cast<double>(
        load_integer(value->type, value->data.data()).value_or(int64_t{1} << 62));
  } else {
    reject(key, describe(*value), "a number");
  }
  if (!std::isfinite(number)) reject(key, fmt::format("{}", number), "a finite number");
  return number;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kBool) reject(key, describe(*value), "a bool");
  return value->data[0] != std::byte{0};
}

std::optional<std::string> GgufFile::text(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kString) reject(key, describe(*value), "a string");
  return std::string(reinterpret_cast<const char*>(value->data.data()), value->data.size());
}

bool GgufFile::is_array(std::string_view key) const {
  const GgufValue* value = find(key);
  return value != nullptr && value->type == GgufValueType::kArray;
}

const GgufValue* GgufFile::find_array(std::string_view key, std::string_view elements) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const GgufValueType type = value->element_type;
  const bool fits = value->type == GgufValueType::kArray &&
                    (elements == "integers"  ? is_integer(type)
                     : elements == "bools"   ? type == GgufValueType::kBool
                     : elements == "strings" ? type == GgufValueType::kString
                                             : type == GgufValueType::kF32);
  if (!fits) reject(key, describe(*value), "an array of " + std::string(elements));
  return value;
}

std::optional<std::vector<int64_t>> GgufFile::integers(std::string_view key, int64_t min,
                                                       int64_t max) const {
  const GgufValue* value = find_array(key, "integers");
  if (value == nullptr) return std::nullopt;
  std::vector<int64_t> out;
  out.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number =
        load_integer(value->element_type, value->data.data() + i * size_of(value->element_type));
    if (!number || *number < min || *number > max) {
      reject(fmt::format("{}[{}]", key, i), number ? std::to_string(*number) : "2^63 or more",
             fmt::format("an integer from {} to {}", min, max));
    }
    out.push_back(*number);
  }
  return out;
}

std::optional<std::vector<bool>> GgufFile::booleans(std::string_view key) const {
  const GgufValue* value = find_array(key, "bools");
  if (value == nullptr) return std::nullopt;
  std::vector<bool> out;
  for (std::byte b : value->data) out.push_back(b != std::byte{0});
  return out;
}

std::optional<std::vector<float>> GgufFile::floats(std::string_view key) const {
  const GgufValue* value = find_array(key, "f32");
  if (value == nullptr) return std::nullopt;
  std::vector<float> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->data.data(), value->data.size());
  return out;
}

std::optional<std::vector<std::string_view>> GgufFile::texts(std::string_view key) const {
  const GgufValue* value = find_array(key, "strings");
  if (value == nullptr) return std::nullopt;
  return decode_strings(*value);
}

}  // namespace mlxn::checkpoint
