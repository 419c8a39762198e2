// SPDX-License-Identifier: Apache-2.0
// What an attn_prefill kernel gets. Pointers address element 0 of a view; rows are contiguous, the
// extents around them are given by strides, so that both layouts are one code path.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/attn_keys.h"
#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

// An explicit mask: cell (b, h, i, a) is at ((b * batch + h * head) * rows + i) *
// columns + a.
struct AttnMask {
  const void* data = nullptr;        // null: none
  DType dtype = DType::kF32;         // f32, f16, bf16, u8
  int64_t batch = 0;                 // planes from one sequence to the next
  int64_t head = 0;                  // planes from one head to the next
  int64_t rows = 0;                  // queries
  int64_t columns = 0;               // keys; those beyond are blocked
  const uint8_t* classes = nullptr;  // [planes, q tiles, k tiles]; null: none
};

struct AttnPrefillParams {
  const void* q;              // rows of head_dim
  const void* k;              // rows of head_dim
  const void* v;              // rows of v_dim
  void* out;                  // rows of v_dim
  const int32_t* kv_len;      // [batch] or null; read when the work runs
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
  // With a block table k_strides.batch and v_strides.batch count from page to page.
  KeyPages pages = {};
  int64_t window_ahead = 0;             // keys from the query's on; 0: all
  int64_t chunk_size = 0;               // positions; 0: no chunks
  const int32_t* prefix_len = nullptr;  // [batch]: positions that `causal` does not block; null: 0
  AttnMask mask = {};
  // Offsets [batch + 1] of packed sequences, or null. With q_starts q_len is the number of packed
  // rows and the batch strides of q and out are 0; with k_starts `capacity` is that number,
  // kv_len is null, and k and v have batch strides of 0.
  const int32_t* q_starts = nullptr;
  const int32_t* k_starts = nullptr;
  const float* sinks = nullptr;         // [num_heads] or null
  const float* alibi_slopes = nullptr;  // [num_heads] or null
  float* lse = nullptr;                 // [batch, num_heads, q_len], packed [num_heads, q_len]
};

std::span<const Entry<AttnPrefillParams>> attn_prefill_entries();

}  // namespace mlxn::kernels
