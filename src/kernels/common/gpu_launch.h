// SPDX-License-Identifier: Apache-2.0
// What the launchers of GPU kernels (gpu.cc) share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "backends/gpu.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

// Extents that kernels count in 32 bits, with room for a stride on top.
inline constexpr int64_t kMaxGpuExtent = int64_t{1} << 31;

inline std::optional<std::string_view> refuse_large(std::initializer_list<int64_t> extents) {
  for (const int64_t extent : extents) {
    if (extent >= kMaxGpuExtent) return "counts extents in 31 bits";
  }
  return std::nullopt;
}

// Elements of 16 bytes.
inline uint32_t vector_elements(DType dtype) { return static_cast<uint32_t>(16 / size_of(dtype)); }

// True if every address is a multiple of 16; null is.
inline bool aligned(std::initializer_list<const void*> addresses) {
  return std::all_of(addresses.begin(), addresses.end(), [](const void* address) {
    return reinterpret_cast<uintptr_t>(address) % 16 == 0;
  });
}

// The same for the rows that start at each address, row_bytes apart.
inline bool aligned_rows(std::initializer_list<const void*> addresses, int64_t row_bytes) {
  return row_bytes % 16 == 0 && aligned(addresses);
}

// Threads for `work` items of one each: whole simdgroups, at least one, at most `most`.
inline uint32_t group_threads(int64_t work, uint32_t most = 1024) {
  return static_cast<uint32_t>(std::clamp<int64_t>((work + 31) / 32 * 32, 32, most));
}

inline uint32_t divide_up(int64_t count, int64_t step) {
  return static_cast<uint32_t>((count + step - 1) / step);
}

// "rms_norm", {f16, f32} -> "rms_norm_f16_f32".
inline std::string kernel_name(std::string_view base, std::initializer_list<DType> dtypes) {
  std::string result(base);
  for (const DType dtype : dtypes) result.append("_").append(name(dtype));
  return result;
}

}  // namespace mlxn::kernels
