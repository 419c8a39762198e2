// SPDX-License-Identifier: Apache-2.0
// What an attn_prefill kernel gets. Pointers address element 0 of a view; rows are contiguous, the
// extents around them are given by strides, so that both layouts are one code path.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

// Elements from one sequence, head or position to the next.
struct AttnStrides {
  int64_t batch;
  int64_t head;
  int64_t row;
};

struct AttnPrefillParams {
  const void* q;              // rows of head_dim
  const void* k;              // rows of head_dim
  const void* v;              // rows of v_dim
  void* out;                  // rows of v_dim
  const int32_t* kv_len;      // [batch]; read when the work runs
  const int32_t* q_offset;    // [batch] or null: kv_len - q_len
  const int32_t* ring_start;  // [batch] or null: 0
  AttnStrides q_strides;
  AttnStrides k_strides;
  AttnStrides v_strides;
  AttnStrides out_strides;
  int64_t batch;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t q_len;
  int64_t capacity;     // slots per KV head
  int64_t window_size;  // keys; 0: all
  int32_t head_dim;     // elements of a query or key row, a multiple of 8
  int32_t v_dim;        // elements of a value row, a multiple of 8
  DType q_dtype;        // of q and out
  DType kv_dtype;       // of k and v
  float softmax_scale;
  float logits_soft_cap;  // 0: off
  bool causal;
  bool ring;  // slot = position mod capacity
};

std::span<const Entry<AttnPrefillParams>> attn_prefill_entries();

}  // namespace mlxn::kernels
