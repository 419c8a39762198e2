// SPDX-License-Identifier: Apache-2.0
// Numbers that the GGUF format assigns to tensor types and metadata value types.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mlxn::checkpoint {

// Rows are whole blocks: elements per block and bytes per block. Which types a weight may have says
// quant/registry.h; the others are known by size only, or not at all.
struct GgufTypeInfo {
  uint32_t id;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
};

// nullptr for ids that were retired or are not assigned.
const GgufTypeInfo* gguf_type_info(uint32_t id);
// "Q4_K"; "type 99" for unknown ids.
std::string gguf_type_name(uint32_t id);

// general.file_type, which says how most matrices of a file are quantised: "Q4_K_M"; "file type 99"
// for unknown ids.
std::string gguf_file_type_name(int64_t id);

enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Bytes of a scalar; 0 for strings, arrays and unknown types.
size_t size_of(GgufValueType type);
std::string_view name(GgufValueType type);  // "u8", "string", ...; "unknown"

}  // namespace mlxn::checkpoint
