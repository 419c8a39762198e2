// SPDX-License-Identifier: Apache-2.0
// The keys and values of one layer for a batch of sequences. A linear cache keeps every position up
// to max_context. A ring keeps what a sliding window still needs: position a lies in slot
// a mod capacity. Either may be cut into pages, which sequences take as they grow and give back.
// How many tokens each sequence holds is the caller's: all layers of a model share these numbers,
// and in a captured step they live in a device buffer. A layer's step, whatever the cache:
//
//     KvCache cache(device, {.batch = 4, .num_kv_heads = 8, .head_dim = 128,
//                            .dtype = KvType::tq(4), .max_context = 32768, .page_size = 64});
//     cache.append(stream, k, v, pos);  // k, v [4, 1, 8, 128]; pos: tokens held, per sequence
//     cache.decode(stream, {.q = q, .out = out, .kv_len = pos_plus_1, .softmax_scale = scale});
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/device.h"
#include "mlxn/kv_type.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention.h"
#include "mlxn/ops/turboquant.h"
#include "mlxn/stream.h"

namespace mlxn {

struct KvCacheShape {
  int64_t batch = 1;                  // sequences
  int64_t num_kv_heads = 1;           // Hkv
  int64_t head_dim = 0;               // elements of a key row, a multiple of 8 up to 512
  int64_t v_dim = 0;                  // elements of a value row; 0: head_dim
  KvType dtype = DType::kF32;         // f32, f16, bf16, or codes
  std::optional<KvType> v_type = {};  // of values: codes of another width; empty: dtype
  bool norm_correction = false;       // codes: norms make up for short levels, as in ops::tq_encode
  int64_t max_context = 0;            // positions that a sequence may reach
  int64_t window_size = 0;  // keys a query sees, itself included; 0: all, and the cache is linear
  int64_t max_chunk = 1;    // ring: most tokens of one append
  int64_t page_size = 0;    // slots of a page, a power of two from 16 to 256; 0: no pages
  int64_t num_pages = 0;    // of all sequences together; 0: what they can fill
};

// Queries over a cache that holds their keys already.
struct KvAttention {
  Buffer q;        // decode: [B, H, D]; prefill: [B, H, qL, D] or [B, qL, H, D]
  Buffer out;      // like q with v_dim
  Lengths kv_len;  // tokens so far
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;
  ops::SeqLayout q_layout = ops::SeqLayout::kHeadMajor;  // prefill
  Lengths q_offset = {};                                 // prefill: position of the first query
  Buffer sinks = {};                                     // as ops/attention.h has them
  Buffer alibi_slopes = {};
  Buffer lse = {};
};

class MLXN_API KvCache {
 public:
  // Slots per KV head. Linear: max_context. Ring: window_size + max_chunk - 1 rounded up to 64, so
  // that a chunk can be appended before its first query attends; never more than max_context.
  // Codes: that rounded up to 16, the unit in which devices order them. Pages: up to whole pages.
  // These and the constructor throw kInvalidArgument naming the field, also when a size overflows.
  static int64_t capacity_of(const KvCacheShape& shape);
  // Bytes that a cache of this shape allocates: keys and values, norms of codes and the block table
  // included.
  static int64_t cache_bytes(const KvCacheShape& shape);

  KvCache() = default;  // empty: valid() is false
  // Allocates zero-filled keys and values. Throws kBufferAllocation if there is not enough memory.
  KvCache(const Device& device, const KvCacheShape& shape);

  bool valid() const { return k_.valid(); }
  const KvCacheShape& shape() const { return shape_; }
  bool is_ring() const { return shape_.window_size > 0; }
  bool is_paged() const { return shape_.page_size > 0; }
  int64_t capacity() const { return capacity_; }
  int64_t bytes() const;  // of this view, with all pages
  bool is_coded() const { return shape_.dtype.is_coded(); }
  // [batch, Hkv, capacity, head_dim] and with v_dim, or the codes; of a paged cache [num_pages,
  // Hkv, page_size, ..].
  const Buffer& k() const { return k_; }
  const Buffer& v() const { return v_; }
  const Buffer& block_table() const { return block_table_; }  // i32 [batch, pages]; -1: no page
  ops::TqRows k_rows() const { return {k_, k_norms_, {.bits = shape_.dtype.bits()}}; }  // is_coded
  ops::TqRows v_rows() const { return {v_, v_norms_, {.bits = v_type().bits()}}; }

  // Sequences [begin, begin + count) as a cache of their own, on the same memory and pages.
  KvCache sequences(int64_t begin, int64_t count) const;
  KvCache sequence(int64_t b) const { return sequences(b, 1); }

  // Writes new tokens k [batch, n, Hkv, head_dim] and v [batch, n, Hkv, v_dim] (f32, f16, bf16) at
  // positions pos .. pos + n - 1. Throws kContextFull if that passes max_context (a
  // device-resident pos is trusted), kInvalidArgument for n > max_chunk on a ring and as
  // ops::kv_append, with nothing recorded. A paged cache takes the pages it needs, as reserve()
  // does for all sequences together, where the host knows pos (so not in a capture, unless they are
  // ready); else what has no page is dropped.
  void append(Stream& stream, const Buffer& k, const Buffer& v, const Lengths& pos) const;

  // Paged: has pages ready for the first `tokens` tokens of a sequence, so that a captured step can
  // append them. Throws kContextFull, with nothing changed, if too few pages are free. Records a
  // copy to the block table; not between begin_capture and end_capture.
  void reserve(Stream& stream, int64_t sequence, int64_t tokens) const;
  // Paged: gives back the pages behind the first `keep` tokens of a sequence; of a ring that has
  // wrapped all or none.
  void release(Stream& stream, int64_t sequence, int64_t keep = 0) const;
  int64_t free_pages() const;

  // One query per sequence, or a chunk of them, over a cache of any type, window included.
  void decode(Stream& stream, const KvAttention& args) const;
  void prefill(Stream& stream, const KvAttention& args) const;

  // Arguments of attention over this cache, window included; kv_len is the number of tokens so far.
  // The caller sets scale, soft cap and layouts. Throw kInvalidArgument for codes.
  ops::AttnDecodeArgs decode_args(const Buffer& q, const Buffer& out, const Lengths& kv_len) const;
  ops::AttnPrefillArgs prefill_args(const Buffer& q, const Buffer& out,
                                    const Lengths& kv_len) const;

 private:
  struct Pages;  // who has which
  KvType v_type() const { return shape_.v_type.value_or(shape_.dtype); }
  void renew_table(Stream& stream) const;
  void set_pages(Stream& stream, int64_t sequence, int64_t count) const;
  int64_t pages_for(int64_t sequence, int64_t tokens) const;
  void reserve_for(Stream& stream, const Lengths& pos, int64_t n) const;
  void reserve_all(Stream& stream, int64_t first, const std::vector<int64_t>& tokens) const;

  KvCacheShape shape_;
  int64_t capacity_ = 0;
  Buffer k_;
  Buffer v_;
  Buffer k_norms_;  // codes only
  Buffer v_norms_;
  Buffer block_table_;            // paged only
  std::shared_ptr<Pages> pages_;  // paged only; of all views
  int64_t first_sequence_ = 0;    // of this view, among those of pages_
};

}  // namespace mlxn
