// SPDX-License-Identifier: Apache-2.0
// What the kernels of fwht, tq_encode and tq_decode get. Pointers address element 0 of dense views.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/common/attn_keys.h"
#include "kernels/common/entry.h"
#include "quant/turboquant.h"

namespace mlxn::kernels {

struct FwhtParams {
  const float* x;  // [rows, dim]
  float* out;      // like x; may be x
  int64_t rows;
  int64_t dim;  // cut into powers of two
  ops::FwhtMode mode;
  std::array<uint32_t, quant::kTqSignWords> signs;
};

// A coded cache, or pages of one: then `batch` counts pages and `capacity` is that of a page.
struct TqCache {
  uint8_t* codes;  // [batch, num_kv_heads, capacity, row_bytes]
  float* norms;    // [batch, num_kv_heads, capacity, norm_count]
  int64_t capacity;
  int64_t row_bytes;
  int32_t dim;  // elements of a row, a multiple of 8 up to 512
  int32_t norm_count;
  quant::TqTable table;
};

inline TqCache tq_cache(const ops::TqRows& rows, int64_t dim) {
  return {.codes = reinterpret_cast<uint8_t*>(rows.codes.data()),
          .norms = reinterpret_cast<float*>(rows.norms.data()),
          .capacity = rows.codes.dim(2),
          .row_bytes = ops::tq_row_bytes(rows.format, dim),
          .dim = static_cast<int32_t>(dim),
          .norm_count = static_cast<int32_t>(ops::tq_norm_count(dim)),
          .table = quant::make_tq_table(rows.format)};
}

struct TqEncodeParams {
  const void* src;  // [batch, n_src, num_kv_heads, dim]
  DType src_dtype;
  TqCache to;
  const int32_t* pos;  // [batch]: position of token src_offset; read when the work runs
  int64_t batch;
  int64_t num_kv_heads;
  int64_t n_src;
  int64_t src_offset;  // first token written
  int64_t n;           // tokens written; with ring at most capacity
  int64_t pos_skip;    // added to pos: tokens in front of src_offset that a ring would lose
  int64_t capacity;    // slots of a sequence
  bool ring;
  bool norm_correction;
  KeyPages pages;
};

// Where the rows of one KV head of one sequence lie, counted in rows.
inline CacheRows tq_rows(const TqCache& cache, const KeyPages& pages, int64_t b, int64_t kv_head,
                         int64_t num_kv_heads) {
  return cache_rows(pages, b, kv_head, num_kv_heads * cache.capacity, cache.capacity, 1);
}

struct TqDecodeParams {
  TqCache from;
  float* out;         // [head_rows, n, dim]
  int64_t head_rows;  // batch * num_kv_heads
  int64_t first_slot;
  int64_t n;  // slots
  bool rotate_back;
};

std::span<const Entry<FwhtParams>> fwht_entries();
std::span<const Entry<TqEncodeParams>> tq_encode_entries();
std::span<const Entry<TqDecodeParams>> tq_decode_entries();

}  // namespace mlxn::kernels
