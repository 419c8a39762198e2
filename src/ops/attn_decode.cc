// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_decode/params.h"
#include "mlxn/ops/attention.h"
#include "ops/attention_args.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "attn_decode";
constexpr int64_t kMaxSplits = 1024;

// The pages of the cache, if it has any.
kernels::KeyPages check(const Device& device, const AttnDecodeArgs& args) {
  check_attention_buffers(kOp, device, args.q, args.k, args.v, args.out, 3);
  const int64_t batch = args.q.dim(0), heads = args.q.dim(1), dim = args.q.dim(2);
  const int64_t kv_heads = args.k.dim(1), slots = args.k.dim(2), v_dim = args.v.dim(3);
  const int64_t blocks = args.block_table ? args.k.dim(0) : batch;
  check_head_dim(kOp, "q", dim);
  check_head_dim(kOp, "v", v_dim);
  check_shape(kOp, "k", args.k, {blocks, kv_heads, slots, dim});
  check_shape(kOp, "v", args.v, {blocks, kv_heads, slots, v_dim});
  check_shape(kOp, "out", args.out, {batch, heads, v_dim});
  check_head_counts(kOp, batch, heads, kv_heads);
  check_score_rule(kOp, args.softmax_scale, args.logits_soft_cap);
  check_decode_mask(kOp, args.mask, args.window_size, args.ring_start);
  check_range(kOp, "n_split", args.n_split, 0, kMaxSplits);
  check_head_values(kOp, "sinks", device, args.sinks, heads);
  check_head_values(kOp, "alibi_slopes", device, args.alibi_slopes, heads);
  check_lse(kOp, device, args.lse, {batch, heads});
  check_disjoint(kOp, {{"out", &args.out}, {"lse", &args.lse}},
                 {{"q", &args.q},
                  {"k", &args.k},
                  {"v", &args.v},
                  {"kv_len", &args.kv_len.device},
                  {"ring_start", &args.ring_start.device},
                  {"sinks", &args.sinks},
                  {"alibi_slopes", &args.alibi_slopes},
                  {"block_table", &args.block_table}});
  kernels::KeyPages pages;
  if (args.block_table) {
    pages = check_block_table(kOp, device, args.block_table, "k", args.k, batch);
  }
  const int64_t capacity = args.block_table ? pages.per_sequence * pages.page_size : slots;
  const int64_t int_max = std::numeric_limits<int32_t>::max();
  check_range(kOp, "k: capacity", capacity, 1, int_max);
  check_lengths(kOp, "kv_len", device, args.kv_len, batch, 1, args.ring ? int_max : capacity);
  if (args.ring_start.empty()) return pages;
  if (args.ring) fail(kOp, "ring_start", "given together with ring", "one of the two");
  check_lengths(kOp, "ring_start", device, args.ring_start, batch, 0, capacity - 1);
  return pages;
}

}  // namespace

void attn_decode(Stream& stream, const AttnDecodeArgs& args) try {
  const kernels::KeyPages pages = check(stream.device(), args);
  const int64_t batch = args.q.dim(0);
  const Buffer kv_len = resolve_lengths(stream, args.kv_len, batch);
  const Buffer ring_start =
      args.ring_start.empty() ? Buffer() : resolve_lengths(stream, args.ring_start, batch);
  const int64_t reach = std::min<int64_t>(args.window_size, std::numeric_limits<int32_t>::max());
  const kernels::AttnDecodeParams params{
      .q = args.q.data(),
      .k = args.k.data(),
      .v = args.v.data(),
      .out = args.out.data(),
      .kv_len = address_of(kv_len),
      .ring_start = address_of(ring_start),
      .batch = batch,
      .num_heads = args.q.dim(1),
      .num_kv_heads = args.k.dim(1),
      .capacity = args.block_table ? pages.per_sequence * pages.page_size : args.k.dim(2),
      .window_size = args.mask == MaskKind::kWindow ? reach : 0,
      .head_dim = static_cast<int32_t>(args.q.dim(2)),
      .v_dim = static_cast<int32_t>(args.v.dim(3)),
      .n_split = args.n_split,
      .q_dtype = args.q.dtype(),
      .kv_dtype = args.k.dtype(),
      .softmax_scale = args.softmax_scale,
      .logits_soft_cap = args.logits_soft_cap,
      .ring = args.ring,
      .pages = pages,
      .chunk_size = args.mask == MaskKind::kChunk ? reach : 0,
      .sinks = floats_of(args.sinks),
      .alibi_slopes = floats_of(args.alibi_slopes),
      .lse = floats_of(args.lse),
  };
  backends::Access access;
  for (const Buffer* input : {&args.q, &args.k, &args.v, &kv_len, &ring_start, &args.sinks,
                              &args.alibi_slopes, &args.block_table}) {
    access.read(*input);
  }
  access.write(args.out);
  access.write(args.lse);
  const auto& entry = kernels::choose(kOp, kernels::attn_decode_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
