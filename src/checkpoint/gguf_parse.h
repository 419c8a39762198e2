// SPDX-License-Identifier: Apache-2.0
// The header of one GGUF file: metadata, tensor table. Nothing is copied from the file but names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_types.h"
#include "mlxn/buffer.h"

namespace mlxn::checkpoint {

// A metadata value, still encoded. It was walked once: every length in it fits the file.
struct GgufValue {
  std::string_view key;
  GgufValueType type = GgufValueType::kU8;
  GgufValueType element_type = GgufValueType::kU8;  // arrays
  uint64_t count = 1;                               // arrays: elements
  // Scalars: the value. Strings: the characters. Arrays: the elements; strings among them keep
  // their u64 length in front.
  std::span<const std::byte> data;
};

struct GgufTensor {
  std::string name;
  uint32_t type = 0;   // see gguf_type_info()
  Shape shape;         // outermost first
  uint64_t begin = 0;  // file offset
  uint64_t end = 0;    // unknown types: the next tensor or the end of the file
};

struct GgufHeader {
  uint32_t version = 0;
  uint64_t alignment = 32;
  std::vector<GgufValue> metadata;  // file order
  std::vector<GgufTensor> tensors;  // file order

  const GgufValue* find(std::string_view key) const;
};

// Parses and validates the file image `bytes`, which must outlive the result. Versions 2 and 3,
// little-endian. Tensors must follow each other without gap in file order; only behind a tensor of
// unknown type, whose size is not known, this cannot be checked. Throws kGguf with `where`.
// Allocates in proportion to the header that is really there.
GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& where);

// Reads `count` strings of an array value; the views point into the file.
std::vector<std::string_view> decode_strings(const GgufValue& value);

}  // namespace mlxn::checkpoint
