// SPDX-License-Identifier: Apache-2.0
// What an attn_decode kernel gets. Pointers address element 0 of dense views.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/attn_keys.h"
#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct AttnDecodeParams {
  const void* q;              // [batch, num_heads, head_dim]
  const void* k;              // [batch, num_kv_heads, capacity, head_dim], or pages of it
  const void* v;              // [batch, num_kv_heads, capacity, v_dim], or pages of it
  void* out;                  // [batch, num_heads, v_dim]
  const int32_t* kv_len;      // [batch]; read when the work runs
  const int32_t* ring_start;  // [batch] or null: 0
  int64_t batch;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t capacity;     // slots per KV head
  int64_t window_size;  // keys; 0: all
  int32_t head_dim;     // elements of a query or key row, a multiple of 8
  int32_t v_dim;        // elements of a value row, a multiple of 8
  int32_t n_split;      // parts the keys are cut into; 0: by the rule of splits.h
  DType q_dtype;        // of q and out
  DType kv_dtype;       // of k and v
  float softmax_scale;
  float logits_soft_cap;  // 0: off
  bool ring;              // slot = position mod capacity
  // With a block table k and v are [pages.count, num_kv_heads, pages.page_size, dim], and capacity
  // is pages.per_sequence * pages.page_size.
  KeyPages pages = {};
  int64_t chunk_size = 0;               // keys of a chunk the query sees its own of; 0: no chunks
  const float* sinks = nullptr;         // [num_heads] or null
  const float* alibi_slopes = nullptr;  // [num_heads] or null
  float* lse = nullptr;                 // [batch, num_heads] or null
};

std::span<const Entry<AttnDecodeParams>> attn_decode_entries();

}  // namespace mlxn::kernels
