// SPDX-License-Identifier: Apache-2.0
// Attention of queries over a KV cache, and writing that cache. Formulas: z = softmax_scale * <q,
// k>; z = cap * tanh(z / cap) if logits_soft_cap > 0; blocked keys get weight 0; out = sum_j
// softmax(z)_j v_j, exactly 0 if every key is blocked. f32 arithmetic throughout. Query head h
// reads KV head h / (num_heads / num_kv_heads).
#pragma once

#include <cstdint>
#include <optional>

#include "mlxn/buffer.h"
#include "mlxn/lengths.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

enum class MaskKind : uint8_t {
  kNone,    // every valid key
  kCausal,  // keys at positions <= the query's
  kWindow,  // the last window_size positions up to and including the query's
};

enum class SeqLayout : uint8_t {
  kHeadMajor,  // [B, H, L, D]
  kSeqMajor,   // [B, L, H, D], what a linear layer emits
};

struct AttnDecodeArgs {
  Buffer q;    // [B, H, D] f32, f16, bf16
  Buffer k;    // cache [B, Hkv, C, D] f32, f16, bf16
  Buffer v;    // cache [B, Hkv, C, Dv], same dtype as k
  Buffer out;  // [B, H, Dv], dtype of q
  // Valid slots per sequence, 1 .. C; with `ring` the number of tokens so far, which may exceed C:
  // then slot = position mod C, min(kv_len, C) slots are valid and the oldest is kv_len mod C.
  Lengths kv_len;
  Lengths ring_start =
      {};  // slot of the oldest entry, 0 .. C-1; empty: 0; not together with `ring`
  bool ring = false;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;  // 0: off
  MaskKind mask = MaskKind::kCausal;
  int64_t window_size = 0;  // >= 1 iff mask is kWindow
  int n_split = 0;          // parts the keys are cut into, up to 1024; 0: by their number alone
};

// One query per sequence, at the newest position. Slots that are not valid are never read. Values
// of a device-resident kv_len or ring_start are read when the work runs and clamped to the cache;
// a kv_len of 0 then gives 0. A sequence's result does not depend on batch, threads, capacity or
// the slot its oldest key lies in.
// Throws kInvalidArgument naming op, parameter, found and required for everything attention.md 1.10
// lists: dtypes, short buffers, extents, H not a multiple of Hkv, kv_len outside 1..C, head dims
// that are not multiples of 8 up to 512, scale not finite, cap < 0, window without size, ring_start
// >= C, overlap.
MLXN_API void attn_decode(Stream& stream, const AttnDecodeArgs& args);

struct AttnPrefillArgs {
  Buffer q;                                     // [B, H, qL, D] or [B, qL, H, D]; f32, f16, bf16
  Buffer k;                                     // [B, Hkv, C, D] or [B, C, Hkv, D]; f32, f16, bf16
  Buffer v;                                     // like k with Dv
  Buffer out;                                   // like q with Dv, dtype of q
  SeqLayout q_layout = SeqLayout::kHeadMajor;   // of q and out
  SeqLayout kv_layout = SeqLayout::kHeadMajor;  // of k and v
  Lengths kv_len;                               // as in AttnDecodeArgs, the chunk included
  Lengths q_offset = {};                        // position of the first query; empty: kv_len - qL
  Lengths ring_start = {};
  bool ring = false;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;
  bool causal = true;
  int64_t window_size = 0;  // 0: none; else key a is blocked for query p unless p - a < window_size
};

// Query i has position q_offset + i; with `ring` the valid keys are at positions
// kv_len - min(kv_len, C) .. kv_len - 1, else at 0 .. kv_len - 1 (with ring_start counted from the
// oldest key held). By default the queries are the last qL positions, and those before position 0
// are causal to nothing. Rows without a visible key give 0. A chunk equals the same rows of a whole
// prefill bit for bit when chunk boundaries are multiples of 64 (not with ring_start, which moves
// the positions).
// Throws as attn_decode; for q_offset > 0 with q_offset + qL > kv_len; and for a ring that no
// longer holds what the first query sees, so that C < window_size + qL - 1 once tokens have been
// overwritten. Device-resident values are clamped as in attn_decode.
MLXN_API void attn_prefill(Stream& stream, const AttnPrefillArgs& args);

enum class CacheLayout : uint8_t {
  kHeadMajor,   // [B, Hkv, C, D]
  kTokenMajor,  // [B, C, Hkv * D]
};

struct KvAppendArgs {
  Buffer k;                // new tokens [B, n_src, Hkv, D]; f32, f16, bf16
  Buffer k_cache;          // [B, Hkv, C, D] or [B, C, Hkv * D]; f32, f16, bf16
  Buffer v = {};           // optional second stream, same shape and dtype as k
  Buffer v_cache = {};     // same shape and dtype as k_cache
  int64_t src_offset = 0;  // first source token used
  int64_t n = -1;          // tokens to write; -1: n_src - src_offset; 0: nothing
  Lengths pos;             // position of the first token written, per sequence
  bool ring = false;       // slot = position mod C; else pos + n <= C is required
  CacheLayout layout = CacheLayout::kHeadMajor;
};

// cache[slot(pos + t)] = convert(src[src_offset + t]), round to nearest even; equal types are
// copied bit for bit. With `ring` and n > C only the last C tokens are kept. Other slots keep their
// bits. No tokens or no heads: nothing happens. Throws kInvalidArgument naming the parameter for
// dtypes, extents, short buffers, overlap, and pos + n beyond the cache. A device-resident pos is
// trusted to fit; slots outside the cache are never written.
MLXN_API void kv_append(Stream& stream, const KvAppendArgs& args);

}  // namespace mlxn::ops
