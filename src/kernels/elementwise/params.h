// SPDX-License-Identifier: Apache-2.0
// What an elementwise kernel gets: add, mul, scale, softcap and cast over flat arrays. Pointers
// address element 0 of the view.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

enum class ElementwiseKind : uint8_t {
  kAdd,      // a + b
  kMul,      // a * b
  kScale,    // a * scalar
  kSoftcap,  // scalar * tanh(a / scalar)
  kCast,     // a, in out_dtype
};

// The op that records the kernel.
inline const char* op_name(ElementwiseKind kind) {
  switch (kind) {
    case ElementwiseKind::kAdd:
      return "add";
    case ElementwiseKind::kMul:
      return "mul";
    case ElementwiseKind::kScale:
      return "scale";
    case ElementwiseKind::kSoftcap:
      return "softcap";
    case ElementwiseKind::kCast:
      break;
  }
  return "cast";
}

struct ElementwiseParams {
  ElementwiseKind kind;
  const void* a;    // [count]
  const void* b;    // [count]; kAdd, kMul only
  void* out;        // [count]; may be a or b unless kCast
  int64_t count;    // elements
  DType dtype;      // of a, b
  DType out_dtype;  // differs from dtype only for kCast
  float scalar;     // factor or cap
};

std::span<const Entry<ElementwiseParams>> elementwise_entries();

}  // namespace mlxn::kernels
