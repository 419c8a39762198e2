// SPDX-License-Identifier: Apache-2.0
// Attention of queries over a KV cache, and writing that cache. Formulas: z = softmax_scale * <q,
// k>; z = cap * tanh(z / cap) if logits_soft_cap > 0; biases are added; blocked keys get weight 0;
// out = sum_j softmax(z)_j v_j, exactly 0 if every key is blocked. f32 arithmetic throughout. Query
// head h reads KV head h / (num_heads / num_kv_heads).
//
// Options that decode and prefill share:
//   sinks         f32 [H]: a logit per head that joins the softmax without a value
//   alibi_slopes  f32 [H]: adds slope * (key's position - query's position) to the scores
//   lse           f32: log of the sum of exponentials of each row, sink included; -infinity for a
//                 row that sees nothing. attn_merge joins results by it.
//   block_table   i32 [B, pages]: k and v are pages [P, Hkv, page_size, D], page_size a power of
//                 two from 16 to 256; slot s lies in page block_table[b, s / page_size]. Entries
//                 of slots without a key are never read, entries outside 0 .. P - 1 hold no keys.
//
// Sources: softmax with a running maximum and sum, so that keys are read once: Milakov and
// Gimelshein, "Online normalizer calculation for softmax" (2018), and Dao et al., "FlashAttention"
// (2022) and "FlashAttention-2" (2023). Keys of one query in parts that are joined by their sums:
// Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference" (2023). Heads that
// share keys: Ainslie et al., "GQA" (2023). Pages: Kwon et al., "Efficient memory management for
// large language model serving with PagedAttention" (2023). Slopes: Press, Smith and Lewis, "Train
// short, test long" (2021). Sinks: Xiao et al., "Efficient streaming language models with attention
// sinks" (2023), here as a learned logit.
//
// Throws kInvalidArgument in the words of mlxn/error.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mlxn/buffer.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention_mask.h"
#include "mlxn/stream.h"

namespace mlxn::ops {

enum class MaskKind : uint8_t {
  kNone,    // every valid key
  kCausal,  // keys at positions <= the query's
  kWindow,  // the last window_size positions up to and including the query's
  kChunk,   // keys of the query's chunk: position / window_size is the same. Not with ring_start
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
  int64_t window_size = 0;  // >= 1 iff mask is kWindow or kChunk
  int n_split = 0;          // parts the keys are cut into, up to 1024; 0: by their number alone
  Buffer sinks = {};
  Buffer alibi_slopes = {};
  Buffer lse = {};          // [B, H]
  Buffer block_table = {};  // C is then pages * page_size
};

// One query per sequence, at the newest position. Slots that are not valid are never read. Values
// of a device-resident kv_len or ring_start are read when the work runs and clamped to the cache;
// a kv_len of 0 then gives 0. A sequence's result does not depend on batch (on CUDA up to 65535
// sequences, beyond which another kernel adds in another order), threads, capacity or the slot its
// oldest key lies in.
// Throws for dtypes, also where k and v or q and out differ; extents; sizes; overlap of out or lse;
// head dims that are not multiples of 8 from 8 to 512; H not a multiple of Hkv; more than 2^21
// heads in all sequences together; kv_len outside 1 .. C, with `ring` below 1; ring_start outside 0
// .. C - 1 or together with `ring`; a softmax_scale that is not finite; a logits_soft_cap that is
// negative or not finite; a mask that is no MaskKind; window_size other than the mask asks for;
// kChunk with ring_start; n_split outside 0 .. 1024; pages whose size is no power of two from 16 to
// 256.
MLXN_API void attn_decode(Stream& stream, const AttnDecodeArgs& args);

struct AttnPrefillArgs {
  Buffer q;                                     // [B, H, qL, D] or [B, qL, H, D]; f32, f16, bf16
  Buffer k;                                     // [B, Hkv, C, D] or [B, C, Hkv, D]; f32, f16, bf16
  Buffer v;                                     // like k with Dv
  Buffer out;                                   // like q with Dv, dtype of q
  SeqLayout q_layout = SeqLayout::kHeadMajor;   // of q and out
  SeqLayout kv_layout = SeqLayout::kHeadMajor;  // of k and v
  Lengths kv_len = {};                          // as in AttnDecodeArgs, the chunk included
  Lengths q_offset = {};                        // position of the first query; empty: kv_len - qL
  Lengths ring_start = {};
  bool ring = false;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;
  bool causal = true;
  int64_t window_size = 0;  // 0: none; else key a is blocked for query p unless p - a < window_size
  int64_t window_ahead = 0;  // 0: none; else it is blocked unless a - p < window_ahead
  int64_t chunk_size = 0;  // 0: none; else it is blocked unless a and p share a chunk of positions
  // Prefix LM: keys at positions below prefix_len are not blocked by `causal`. Empty: 0.
  Lengths prefix_len = {};
  // Added to the scores: f32, f16 or bf16 [qL, kL] or [B, H, qL, kL], B and H may be 1; cells at or
  // below -1e30 (f16: -65504) block. Or u8, where 0 blocks. Row i is query i of the call, column a
  // the key at position a; keys from kL on are blocked.
  Buffer mask = {};
  // Of the mask, from attn_mask_classify with tiles of kAttnMaskQTile and kAttnMaskKTile. They save
  // work and change no bit.
  AttnMaskTiles mask_tiles = {};
  // Sequences of different lengths, packed: i32 offsets [B + 1] from 0 on. With q_starts q and out
  // are [sum qL, H, D], and sequence b has rows q_starts[b] .. q_starts[b + 1] - 1; with k_starts k
  // and v are [sum kL, Hkv, D] and kv_len stays empty. A sequence may be empty. Not with a mask.
  Lengths q_starts = {};
  Lengths k_starts = {};
  Buffer sinks = {};
  Buffer alibi_slopes = {};
  Buffer lse = {};          // [B, H, qL]; with q_starts [H, sum qL]
  Buffer block_table = {};  // C is then pages * page_size; kv_layout is kHeadMajor
};

// Query i has position q_offset + i; with `ring` the valid keys are at positions
// kv_len - min(kv_len, C) .. kv_len - 1, else at 0 .. kv_len - 1 (with ring_start counted from the
// oldest key held). By default the queries are the last qL positions, and those before position 0
// are causal to nothing. Rows without a visible key give 0. A chunk equals the same rows of a whole
// prefill bit for bit when chunk boundaries are multiples of 64 (not with ring_start, which moves
// the positions). A sequence gives the same bits alone, in a batch and packed.
// Throws as attn_decode, without its mask kinds and n_split; for q_offset + qL > kv_len, unless
// q_offset is 0; for a ring that no longer holds what the first query sees, so that C < window_size
// + qL - 1 once tokens have been overwritten; for a negative window_size, window_ahead, chunk_size,
// q_offset or prefix_len; for a layout that is none, and kSeqMajor keys with a block_table; for a
// mask of other rows or of fewer keys than kv_len, mask_tiles without a mask or of other tiles; for
// q_starts and k_starts that do not start at 0, that fall or that pass the rows given, q_starts
// with a mask, k_starts without q_starts, of another number of sequences, or with kv_len,
// ring_start, ring or block_table. Device-resident values are clamped as in attn_decode.
MLXN_API void attn_prefill(Stream& stream, const AttnPrefillArgs& args);

// alibi_slopes for that many heads: with m the largest power of two up to num_heads, 2^(-8 (h + 1)
// / m) for h < m, else 2^(-4 (2 (h - m) + 1) / m). Throws unless num_heads is 1 to
// 2^21.
MLXN_API std::vector<float> alibi_slopes(int64_t num_heads);

struct AttnMergeArgs {
  Buffer parts;         // [N, ..., Dv] f32, f16, bf16: results over N disjoint sets of keys
  Buffer lse;           // f32 [N, ...]: theirs
  Buffer out;           // [..., Dv], dtype of parts
  Buffer out_lse = {};  // f32 [...]: of all keys together
};

// out = sum_i exp(lse_i - L) parts_i with L = log sum_i exp(lse_i), in the order of the parts, in
// f32. Parts of lse -infinity are not read; if all are, out is 0 and L -infinity. A sink belongs to
// one of the parts. Throws for dtypes, extents, sizes and overlap.
MLXN_API void attn_merge(Stream& stream, const AttnMergeArgs& args);

enum class CacheLayout : uint8_t {
  kHeadMajor,   // [B, Hkv, C, D]
  kTokenMajor,  // [B, C, Hkv * D]
};

struct KvAppendArgs {
  Buffer k;                // new tokens [B, n_src, Hkv, D]; f32, f16, bf16
  Buffer k_cache;          // [B, Hkv, C, D] or [B, C, Hkv * D]; f32, f16, bf16
  Buffer v = {};           // optional second stream, like k with Dv
  Buffer v_cache = {};     // like k_cache with Dv
  int64_t src_offset = 0;  // first source token used
  int64_t n = -1;          // tokens to write; -1: n_src - src_offset; 0: nothing
  Lengths pos;             // position of the first token written, per sequence
  bool ring = false;       // slot = position mod C; else pos + n <= C is required
  CacheLayout layout = CacheLayout::kHeadMajor;
  Buffer block_table = {};  // caches are pages, as for attention; layout is kHeadMajor
};

// cache[slot(pos + t)] = convert(src[src_offset + t]), round to nearest even; equal types are
// copied bit for bit. With `ring` and n > C only the last C tokens are kept. Other slots keep their
// bits. No tokens or no heads: nothing happens. Throws for dtypes, also where k and v or their
// caches differ; extents; sizes; overlap; a layout that is none; one of v and v_cache alone;
// src_offset and n beyond the tokens given; a negative pos, and pos + n beyond a cache that is no
// ring; pages as attn_decode. A device-resident pos is trusted to fit; slots outside the cache are
// never written, nor those of pages outside it.
MLXN_API void kv_append(Stream& stream, const KvAppendArgs& args);

}  // namespace mlxn::ops
