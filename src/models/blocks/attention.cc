// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/attention.h"

#include "mlxn/ops/matmul.h"
#include "mlxn/ops/rope.h"

namespace mlxn::models {
namespace {

// The part of a cache that belongs to the span's sequences.
KvCache part_of(const KvCache& cache, const TokenSpan& span) {
  return span.decode ? cache.sequences(0, span.count) : cache.sequence(span.sequence);
}

KvAttention attention_of(const AttentionShape& shape, const TokenSpan& span,
                         const AttentionScratch& scratch) {
  return {.q = scratch.q,
          .out = scratch.out,
          .kv_len = span.kv_len,
          .softmax_scale = shape.softmax_scale,
          .logits_soft_cap = shape.logits_soft_cap};
}

void attend_decode(Stream& stream, const AttentionShape& shape, const TokenSpan& span,
                   const AttentionScratch& scratch, const KvCache& cache) {
  part_of(cache, span).decode(stream, attention_of(shape, span, scratch));
}

void attend_prefill(Stream& stream, const AttentionShape& shape, const TokenSpan& span,
                    const AttentionScratch& scratch, const KvCache& cache) {
  const Shape seq_major = {1, span.count, shape.num_heads, shape.head_dim};
  KvAttention args = attention_of(shape, span, scratch);
  args.q = scratch.q.reshape(seq_major);
  args.out = scratch.out.reshape(seq_major);
  args.q_layout = ops::SeqLayout::kSeqMajor;
  args.q_offset = span.start;
  part_of(cache, span).prefill(stream, args);
}

}  // namespace

TokenSpan last_tokens(const TokenSpan& span, int64_t count) {
  TokenSpan tail = span;
  const int64_t skipped = span.count - count;
  tail.count = count;
  tail.start = Lengths(span.start.host.at(0) + skipped);
  tail.positions = span.positions.rows(skipped, count);
  return tail;
}

void append_kv(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
               const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch,
               const KvCache& cache) {
  const int64_t width = shape.num_kv_heads * shape.head_dim;
  const Shape flat = {span.count, width};
  ops::matmul(stream, {.x = h, .weight = weights.k, .out = scratch.k.reshape(flat)});
  // Without a projection of its own V is K before its norm and rotation.
  Buffer v = scratch.k;
  if (weights.v.valid()) {
    v = scratch.v;
    ops::matmul(stream, {.x = h, .weight = weights.v, .out = v.reshape(flat)});
  }
  if (shape.norm_v) {
    ops::head_norm_rope(stream, {.x = v, .out = scratch.v, .eps = shape.eps});
    v = scratch.v;
  }
  ops::head_norm_rope(stream, {.x = scratch.k,
                               .weight = weights.k_norm,
                               .positions = span.positions,
                               .inv_freq = shape.inv_freq,
                               .out = scratch.k,
                               .eps = shape.eps,
                               .weight_offset = shape.norm_weight_offset});
  const Shape source = span.decode ? Shape{span.count, 1, shape.num_kv_heads, shape.head_dim}
                                   : Shape{1, span.count, shape.num_kv_heads, shape.head_dim};
  part_of(cache, span).append(stream, scratch.k.reshape(source), v.reshape(source), span.start);
}

void attend(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
            const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch,
            const KvCache& cache, const Buffer& out) {
  const Shape flat = {span.count, shape.num_heads * shape.head_dim};
  ops::matmul(stream, {.x = h, .weight = weights.q, .out = scratch.q.reshape(flat)});
  ops::head_norm_rope(stream, {.x = scratch.q,
                               .weight = weights.q_norm,
                               .positions = span.positions,
                               .inv_freq = shape.inv_freq,
                               .out = scratch.q,
                               .eps = shape.eps,
                               .weight_offset = shape.norm_weight_offset});
  if (span.decode) {
    attend_decode(stream, shape, span, scratch, cache);
  } else {
    attend_prefill(stream, shape, span, scratch, cache);
  }
  ops::matmul(stream, {.x = scratch.out.reshape(flat), .weight = weights.o, .out = out});
}

}  // namespace mlxn::models
