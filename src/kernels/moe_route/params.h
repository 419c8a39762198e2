// SPDX-License-Identifier: Apache-2.0
// What a moe_route kernel gets. Pointers address element 0 of the view.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/ops/moe.h"

namespace mlxn::kernels {

inline constexpr int64_t kMaxExperts = 1024;
inline constexpr int64_t kMaxSelectedExperts = 64;

struct MoeRouteParams {
  const float* logits;        // [tokens, experts]
  const float* expert_scale;  // [experts] or null
  uint32_t* ids;              // [tokens, top_k]
  float* weights;             // [tokens, top_k]
  int64_t tokens;
  int64_t experts;  // at most kMaxExperts
  int64_t top_k;    // at most min(experts, kMaxSelectedExperts)
  ops::RouteMode mode;
  bool renormalize;  // kSoftmaxTopK only
};

std::span<const Entry<MoeRouteParams>> moe_route_entries();

}  // namespace mlxn::kernels
