// SPDX-License-Identifier: Apache-2.0
// Self-attention with a KV cache, in two halves: a layer writes the keys and values of new tokens
// and makes their queries, which then attend over the cache. A layer may attend over the cache of
// another one.
#pragma once

#include "mlxn/kv_cache.h"
#include "mlxn/lengths.h"
#include "mlxn/ops/attention.h"
#include "mlxn/stream.h"
#include "mlxn/weight.h"

namespace mlxn::models {

struct AttentionWeights {
  Weight q;       // [Nq * D, H]
  Weight k;       // [Nkv * D, H]; none if the layer attends over another one's cache
  Weight v;       // [Nkv * D, H]; none if V is the raw output of k
  Weight o;       // [H, Nq * D]
  Buffer q_norm;  // [D]
  Buffer k_norm;  // [D]
};

struct AttentionShape {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  float softmax_scale = 1.0f;
  float logits_soft_cap = 0.0f;  // 0: off
  float eps = 0.0f;
  float norm_weight_offset = 0.0f;
  bool norm_v = false;  // V / sqrt(mean(V^2) + eps), without weight
  Buffer inv_freq;      // f32 [<= D / 2]
};

// Which tokens a call works on: `count` consecutive ones of one sequence (prefill), or one of each
// of `count` sequences (decode).
struct TokenSpan {
  bool decode = false;
  int64_t sequence = 0;  // prefill: row of the caches
  int64_t count = 0;
  Lengths start;     // position of the first token, per sequence
  Lengths kv_len;    // tokens so far, these included, per sequence
  Buffer positions;  // i32 [count]
};

// The tail of a prefill: the last `count` tokens of the span.
TokenSpan last_tokens(const TokenSpan& span, int64_t count);

struct AttentionScratch {
  Buffer q;    // [T, Nq, D]
  Buffer k;    // [T, Nkv, D]
  Buffer v;    // [T, Nkv, D]
  Buffer out;  // [T, Nq, D]
};

// h [T, H], the normed input: keys and values of the span go to the cache, and its queries, if
// asked for, to scratch.q.
void append(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
            const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch,
            const KvCache& cache, bool with_queries);
// The span's queries alone.
void project_queries(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
                     const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch);

// scratch.q -> out [T, H]: queries over the cache, which holds their keys already.
void attend(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
            const TokenSpan& span, const AttentionScratch& scratch, const KvCache& cache,
            const Buffer& out);

}  // namespace mlxn::models
