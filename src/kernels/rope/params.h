// SPDX-License-Identifier: Apache-2.0
// What a rope kernel gets: rotary embedding of every head, optionally behind the head's RMS norm.
// Pointers address element 0 of the view; rows are dense.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/common/entry.h"
#include "kernels/kv_append/params.h"
#include "kernels/turboquant/params.h"
#include "mlxn/dtype.h"
#include "mlxn/ops/rope.h"

namespace mlxn::kernels {

struct RopeParams {
  const void* x;             // [tokens, heads, head_dim]
  const void* weight;        // [head_dim] or null; read only if norm
  const int32_t* positions;  // [tokens]; unused if pairs is 0
  const float* inv_freq;     // [pairs]
  void* out;                 // [tokens, heads, head_dim]
  int64_t tokens;
  int64_t heads;
  int64_t head_dim;  // elements
  int64_t pairs;     // rotated pairs per head, at most head_dim / 2
  ops::RopePairing pairing;
  bool norm;
  DType dtype;  // of x and out
  DType weight_dtype;
  float eps;
  float weight_offset;
};

std::span<const Entry<RopeParams>> rope_entries();

// The calls that qkv_rope stands for.
struct QkvRopeParams {
  std::optional<RopeParams> v;  // none: append.v is V
  RopeParams k;
  std::optional<RopeParams> q;
  KvAppendParams append;
  std::vector<TqEncodeParams> codes;  // K's and V's in place of append's caches, which are null
};

// For devices with a kernel for the whole.
std::span<const Entry<QkvRopeParams>> qkv_rope_entries();

}  // namespace mlxn::kernels
