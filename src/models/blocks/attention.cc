// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/attention.h"

#include "ops/fused.h"

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

// h [T, H] -> heads [T, heads, D]
ops::MatmulArgs projection(const Weight& weight, const Buffer& h, const Buffer& heads) {
  const Shape flat = {heads.dim(0), heads.dim(1) * heads.dim(2)};
  return {.x = h, .weight = weight, .out = heads.reshape(flat)};
}

// In place.
ops::HeadNormRopeArgs rotation(const AttentionShape& shape, const TokenSpan& span,
                               const Buffer& weight, const Buffer& heads) {
  return {.x = heads,
          .weight = weight,
          .positions = span.positions,
          .inv_freq = shape.inv_freq,
          .out = heads,
          .eps = shape.eps,
          .weight_offset = shape.norm_weight_offset};
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

void append(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
            const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch,
            const KvCache& cache, bool with_queries) {
  ops::JointMatmulArgs projections{.parts = {projection(weights.k, h, scratch.k)}};
  if (weights.v.valid()) projections.parts.push_back(projection(weights.v, h, scratch.v));
  if (with_queries) projections.parts.push_back(projection(weights.q, h, scratch.q));
  ops::joint_matmul(stream, projections);

  ops::QkvRopeArgs heads;
  heads.k = rotation(shape, span, weights.k_norm, scratch.k);
  // Without a projection of its own V is K before its norm and rotation.
  Buffer v = weights.v.valid() ? scratch.v : scratch.k;
  if (shape.norm_v) {
    heads.v = {.x = v, .out = scratch.v, .eps = shape.eps};
    v = scratch.v;
  }
  if (with_queries) heads.q = rotation(shape, span, weights.q_norm, scratch.q);
  const Shape source = span.decode ? Shape{span.count, 1, shape.num_kv_heads, shape.head_dim}
                                   : Shape{1, span.count, shape.num_kv_heads, shape.head_dim};
  const Buffer k_rows = scratch.k.reshape(source), v_rows = v.reshape(source);
  const KvCache part = part_of(cache, span);
  const bool ring = part.is_ring();
  if (part.is_coded()) {
    heads.k_encode = {.src = k_rows,
                      .to = part.k_rows(),
                      .pos = span.start,
                      .ring = ring,
                      .norm_correction = part.shape().norm_correction,
                      .block_table = part.block_table()};
    heads.v_encode = heads.k_encode;
    heads.v_encode.src = v_rows;
    heads.v_encode.to = part.v_rows();
  } else {
    heads.append = {.k = k_rows,
                    .k_cache = part.k(),
                    .v = v_rows,
                    .v_cache = part.v(),
                    .pos = span.start,
                    .ring = ring,
                    .block_table = part.block_table()};
  }
  ops::qkv_rope(stream, heads);
}

void project_queries(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
                     const TokenSpan& span, const Buffer& h, const AttentionScratch& scratch) {
  ops::matmul(stream, projection(weights.q, h, scratch.q));
  ops::head_norm_rope(stream, rotation(shape, span, weights.q_norm, scratch.q));
}

void attend(Stream& stream, const AttentionWeights& weights, const AttentionShape& shape,
            const TokenSpan& span, const AttentionScratch& scratch, const KvCache& cache,
            const Buffer& out) {
  const Shape flat = {span.count, shape.num_heads * shape.head_dim};
  if (span.decode) {
    attend_decode(stream, shape, span, scratch, cache);
  } else {
    attend_prefill(stream, shape, span, scratch, cache);
  }
  ops::matmul(stream, {.x = scratch.out.reshape(flat), .weight = weights.o, .out = out});
}

}  // namespace mlxn::models
