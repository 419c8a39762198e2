// SPDX-License-Identifier: Apache-2.0
// 64-bit arithmetic that reports overflow instead of wrapping. Every size that comes from a file
// or a caller goes through these.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace mlxn::base {

inline std::optional<int64_t> checked_mul(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<int64_t> checked_add(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Product of extents; nullopt if one is negative or the product exceeds 2^63 - 1.
inline std::optional<int64_t> checked_product(std::span<const int64_t> extents) {
  int64_t result = 1;
  for (int64_t extent : extents) {
    if (extent < 0) return std::nullopt;
    const auto next = checked_mul(result, extent);
    if (!next) return std::nullopt;
    result = *next;
  }
  return result;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace mlxn::base
