// SPDX-License-Identifier: Apache-2.0
// Checks that the attention ops share, and their per-sequence integers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <utility>

#include "kernels/common/attn_keys.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention.h"
#include "mlxn/stream.h"
#include "ops/check.h"

namespace mlxn::ops {

inline constexpr int64_t kMaxHeadDim = 512;
// Heads of all sequences together: with 1024 parts each, the tasks of a dispatch fit 32 bits.
inline constexpr int64_t kMaxHeadRows = 1 << 21;

// Rank and dtype of q, k, v, out; k and v of one dtype; out of q's dtype, not overlapping an input.
void check_attention_buffers(const char* op, const Device& device, const Buffer& q, const Buffer& k,
                             const Buffer& v, const Buffer& out, size_t q_rank, size_t kv_rank = 4);
// One f32 per query head, if given.
void check_head_values(const char* op, const char* parameter, const Device& device,
                       const Buffer& values, int64_t num_heads);
// f32 of this shape, if given.
void check_lse(const char* op, const Device& device, const Buffer& lse, const Shape& shape);
// Neither output overlaps any of the inputs or the other.
void check_disjoint(const char* op,
                    std::initializer_list<std::pair<const char*, const Buffer*>> outputs,
                    std::initializer_list<std::pair<const char*, const Buffer*>> inputs);
// The pages of caches [P, Hkv, page_size, dim], of which `cache` is one. Their slots are at most
// 2^31 - 1 per sequence.
kernels::KeyPages check_block_table(const char* op, const Device& device, const Buffer& block_table,
                                    const char* cache_name, const Buffer& cache, int64_t batch);
// A multiple of 8 from 8 to kMaxHeadDim.
void check_head_dim(const char* op, const char* parameter, int64_t dim);
// num_heads is a multiple of num_kv_heads, and there are not more heads than kMaxHeadRows.
void check_head_counts(const char* op, int64_t batch, int64_t num_heads, int64_t num_kv_heads);
// Scale finite, cap finite and at least 0.
void check_score_rule(const char* op, float softmax_scale, float logits_soft_cap);

// window_size goes with the mask, and chunks with positions that count from 0.
void check_decode_mask(const char* op, MaskKind mask, int64_t window_size,
                       const Lengths& ring_start);

// A cache as queries of a chunk look back on it.
struct CacheReach {
  int64_t capacity;  // slots
  bool ring;
  int64_t window_size, chunk_size;  // 0: all keys
};
// Sequence b, as far as its values are known now: its queries end with its keys at the latest, and
// a ring still holds every key that the first of them sees.
void check_chunk(const char* op, const CacheReach& cache, std::optional<int64_t> kv_len,
                 std::optional<int64_t> q_len, const Lengths& q_offset, int64_t b);

// One host value or `batch` of them, each in min .. max (max at most 2^31 - 1); or a device buffer
// i32 [batch], whose values cannot be checked.
void check_lengths(const char* op, const char* parameter, const Device& device,
                   const Lengths& lengths, int64_t batch, int64_t min, int64_t max);
// count + 1 offsets from 0 to at most `total`, none below the one before it; or a device buffer i32
// [count + 1], whose values cannot be checked. Returns count.
int64_t check_starts(const char* op, const char* parameter, const Device& device,
                     const Lengths& starts, int64_t total);
// The value of sequence b, if it is known now.
std::optional<int64_t> host_value(const Lengths& lengths, int64_t b);
// i32 [batch] that kernels read when they run. Host values are copied to memory of the stream.
Buffer resolve_lengths(Stream& stream, const Lengths& lengths, int64_t batch);
// Tokens to write of src [batch, tokens, ..], `name`, from src_offset on; n: -1 for all.
int64_t token_count(const char* op, const char* name, const Buffer& src, int64_t src_offset,
                    int64_t n);
// No element, but extents.
bool is_empty(const Buffer& buffer);
// Where they are, or null.
inline const int32_t* address_of(const Buffer& lengths) {
  return lengths ? reinterpret_cast<const int32_t*>(lengths.data()) : nullptr;
}
inline float* floats_of(const Buffer& values) {
  return values ? reinterpret_cast<float*>(values.data()) : nullptr;
}

}  // namespace mlxn::ops
