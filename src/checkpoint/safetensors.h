// SPDX-License-Identifier: Apache-2.0
// The safetensors container: u64 little-endian header length n, n bytes of JSON, data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "mlxn/buffer.h"

namespace mlxn::checkpoint {

enum class SafetensorsType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
  kC64,
  kUnknown,  // a name we do not know; only its use is an error
};

// Bytes per element; 0 for kUnknown.
size_t size_of(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  std::string type_name;  // as written in the file
  SafetensorsType type = SafetensorsType::kUnknown;
  Shape shape;
  uint64_t begin = 0;  // file offset of the first byte
  uint64_t end = 0;
};

// Parses and validates the header of the file image `bytes`: every rule of the format, and that the
// tensors tile the data section exactly. Result in file order of the header. Throws kSafetensors
// with `where`. Allocates in proportion to the header that is really there.
std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> bytes,
                                                 const std::string& where);

struct SafetensorsFile {
  static SafetensorsFile open(const std::string& path);

  std::shared_ptr<base::MappedFile> file;
  std::vector<SafetensorsTensor> tensors;

  std::span<const std::byte> bytes_of(const SafetensorsTensor& tensor) const {
    return file->bytes().subspan(tensor.begin, tensor.end - tensor.begin);
  }
};

}  // namespace mlxn::checkpoint
