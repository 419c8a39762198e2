// SPDX-License-Identifier: Apache-2.0
// What a kv_append kernel gets. Pointers address element 0 of dense views.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/attn_keys.h"
#include "kernels/common/entry.h"
#include "mlxn/dtype.h"

namespace mlxn::kernels {

struct KvAppendParams {
  const void* k;  // [batch, n_src, num_kv_heads, dim]
  const void* v;  // like k with v_dim, or null
  void* k_cache;  // [batch, num_kv_heads, capacity, dim] or [batch, capacity, num_kv_heads, dim]
  void* v_cache;  // like k_cache with v_dim, or null
  const int32_t* pos;  // [batch]: position of token src_offset; read when the work runs
  int64_t batch;
  int64_t n_src;
  int64_t src_offset;  // first token written
  int64_t n;           // tokens written; with ring at most capacity
  int64_t pos_skip;    // added to pos: tokens in front of src_offset that a ring would lose
  int64_t num_kv_heads;
  int64_t capacity;  // slots
  int64_t dim;       // elements of a row of k
  DType src_dtype;
  DType cache_dtype;
  bool ring;
  bool token_major;   // cache layout
  int64_t v_dim = 0;  // elements of a row of v
  // With a block table the caches are [pages.count, num_kv_heads, pages.page_size, dim], and
  // capacity is pages.per_sequence * pages.page_size.
  KeyPages pages = {};
};

std::span<const Entry<KvAppendParams>> kv_append_entries();

}  // namespace mlxn::kernels
