// SPDX-License-Identifier: Apache-2.0
// What the rows of a KV cache are: floats, or TurboQuant codes (ops/turboquant.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mlxn/dtype.h"

namespace mlxn {

class KvType {
 public:
  constexpr KvType(DType dtype) : dtype_(dtype) {}  // NOLINT: f16 is a cache type as it stands
  static constexpr KvType tq(int bits) { return KvType(bits); }

  constexpr bool is_coded() const { return bits_ != 0; }
  constexpr int bits() const { return bits_; }      // of a code; 0: floats
  constexpr DType dtype() const { return dtype_; }  // of float rows; u8 for codes
  friend constexpr bool operator==(KvType a, KvType b) {
    return a.dtype_ == b.dtype_ && a.bits_ == b.bits_;
  }

 private:
  explicit constexpr KvType(int bits) : dtype_(DType::kU8), bits_(bits) {}
  DType dtype_;
  int bits_ = 0;
};

inline constexpr std::string_view kKvTypeNames[] = {"f32", "f16", "bf16", "tq2", "tq3",
                                                    "tq4", "tq5", "tq6",  "tq8"};

MLXN_API std::string name(KvType type);
// The type of one of kKvTypeNames.
MLXN_API std::optional<KvType> parse_kv_type(std::string_view name);

// Of keys and of values: the same, or codes of two widths.
struct KvTypes {
  KvType k = DType::kF16;
  KvType v = DType::kF16;

  friend constexpr bool operator==(const KvTypes&, const KvTypes&) = default;
};

MLXN_API std::string name(const KvTypes& types);  // "f16", "tq8/tq4"
// Empty for names that are none, and for two types that no cache can mix.
MLXN_API std::optional<KvTypes> parse_kv_types(std::string_view name);

}  // namespace mlxn
