// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_prefill/params.h"
#include "mlxn/ops/attention.h"
#include "ops/attention_args.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "attn_prefill";

// Extents of a rank-4 operand under its layout, and where its rows lie.
struct Operand {
  int64_t batch, heads, len, dim;
  kernels::AttnStrides strides;
};

Operand describe(const Buffer& buffer, SeqLayout layout) {
  const int64_t batch = buffer.dim(0), dim = buffer.dim(3);
  if (layout == SeqLayout::kHeadMajor) {
    const int64_t heads = buffer.dim(1), len = buffer.dim(2);
    return {batch, heads, len, dim, {heads * len * dim, len * dim, dim}};
  }
  const int64_t len = buffer.dim(1), heads = buffer.dim(2);
  return {batch, heads, len, dim, {heads * len * dim, dim, heads * dim}};
}

Shape shape_of(const Operand& o, SeqLayout layout) {
  return layout == SeqLayout::kHeadMajor ? Shape{o.batch, o.heads, o.len, o.dim}
                                         : Shape{o.batch, o.len, o.heads, o.dim};
}

void check_layout(const char* parameter, SeqLayout layout) {
  if (layout != SeqLayout::kHeadMajor && layout != SeqLayout::kSeqMajor) {
    fail(kOp, parameter, std::to_string(static_cast<int>(layout)), "kHeadMajor or kSeqMajor");
  }
}

void check_shapes(const Device& device, const AttnPrefillArgs& args) {
  check_attention_buffers(kOp, device, args.q, args.k, args.v, args.out, 4);
  check_layout("q_layout", args.q_layout);
  check_layout("kv_layout", args.kv_layout);
  const Operand q = describe(args.q, args.q_layout), k = describe(args.k, args.kv_layout);
  const Operand v = describe(args.v, args.kv_layout);
  check_head_dim(kOp, "q", q.dim);
  check_head_dim(kOp, "v", v.dim);
  check_shape(kOp, "k", args.k, shape_of({q.batch, k.heads, k.len, q.dim, {}}, args.kv_layout));
  check_shape(kOp, "v", args.v, shape_of({q.batch, k.heads, k.len, v.dim, {}}, args.kv_layout));
  check_shape(kOp, "out", args.out, shape_of({q.batch, q.heads, q.len, v.dim, {}}, args.q_layout));
  check_head_counts(kOp, q.batch, q.heads, k.heads);
  const int64_t int_max = std::numeric_limits<int32_t>::max();
  check_range(kOp, "k: capacity", k.len, 1, int_max);
  check_range(kOp, "q: length", q.len, 1, int_max);
}

// Sequence b, as far as its values are known now.
void check_positions(const AttnPrefillArgs& args, int64_t b, int64_t q_len, int64_t capacity) {
  const auto kv_len = host_value(args.kv_len, b);
  const auto given_offset = host_value(args.q_offset, b);
  if (!kv_len || (args.q_offset.device && !given_offset)) return;
  const int64_t offset = given_offset.value_or(*kv_len - q_len);
  if (offset > 0 && offset + q_len > *kv_len) {
    fail(kOp, "q_offset",
         std::to_string(offset) + " with " + std::to_string(q_len) + " queries and kv_len " +
             std::to_string(*kv_len),
         "q_offset + queries at most kv_len");
  }
  if (!args.ring || *kv_len <= capacity) return;
  const int64_t oldest =
      args.window_size > 0 ? std::max<int64_t>(0, offset - args.window_size + 1) : 0;
  if (*kv_len - oldest > capacity) {
    fail(kOp, "k: capacity", std::to_string(capacity) + " slots of a ring",
         "at least " + std::to_string(*kv_len - oldest) + ", from the oldest key that the first " +
             "query sees to the newest");
  }
}

void check(const Device& device, const AttnPrefillArgs& args) {
  check_shapes(device, args);
  check_score_rule(kOp, args.softmax_scale, args.logits_soft_cap);
  check_min(kOp, "window_size", args.window_size, 0);
  const Operand q = describe(args.q, args.q_layout);
  const int64_t capacity = describe(args.k, args.kv_layout).len;
  const int64_t int_max = std::numeric_limits<int32_t>::max();
  check_lengths(kOp, "kv_len", device, args.kv_len, q.batch, 1, args.ring ? int_max : capacity);
  check_overlap(kOp, "out", args.out, "kv_len", args.kv_len.device);
  if (!args.q_offset.empty()) {
    check_lengths(kOp, "q_offset", device, args.q_offset, q.batch, 0, int_max);
    check_overlap(kOp, "out", args.out, "q_offset", args.q_offset.device);
  }
  if (!args.ring_start.empty()) {
    if (args.ring) fail(kOp, "ring_start", "given together with ring", "one of the two");
    check_lengths(kOp, "ring_start", device, args.ring_start, q.batch, 0, capacity - 1);
    check_overlap(kOp, "out", args.out, "ring_start", args.ring_start.device);
  }
  for (int64_t b = 0; b < q.batch; ++b) check_positions(args, b, q.len, capacity);
}

}  // namespace

void attn_prefill(Stream& stream, const AttnPrefillArgs& args) try {
  check(stream.device(), args);
  const Operand q = describe(args.q, args.q_layout), out = describe(args.out, args.q_layout);
  const Operand k = describe(args.k, args.kv_layout), v = describe(args.v, args.kv_layout);
  const auto resolve = [&](const Lengths& lengths) {
    return lengths.empty() ? Buffer() : resolve_lengths(stream, lengths, q.batch);
  };
  const Buffer kv_len = resolve(args.kv_len), q_offset = resolve(args.q_offset);
  const Buffer ring_start = resolve(args.ring_start);
  const kernels::AttnPrefillParams params{
      .q = args.q.data(),
      .k = args.k.data(),
      .v = args.v.data(),
      .out = args.out.data(),
      .kv_len = address_of(kv_len),
      .q_offset = address_of(q_offset),
      .ring_start = address_of(ring_start),
      .q_strides = q.strides,
      .k_strides = k.strides,
      .v_strides = v.strides,
      .out_strides = out.strides,
      .batch = q.batch,
      .num_heads = q.heads,
      .num_kv_heads = k.heads,
      .q_len = q.len,
      .capacity = k.len,
      .window_size = std::min<int64_t>(args.window_size, std::numeric_limits<int32_t>::max()),
      .head_dim = static_cast<int32_t>(q.dim),
      .v_dim = static_cast<int32_t>(v.dim),
      .q_dtype = args.q.dtype(),
      .kv_dtype = args.k.dtype(),
      .softmax_scale = args.softmax_scale,
      .logits_soft_cap = args.logits_soft_cap,
      .causal = args.causal,
      .ring = args.ring,
  };
  backends::Access access;
  for (const Buffer* input : {&args.q, &args.k, &args.v, &kv_len, &q_offset, &ring_start}) {
    access.read(*input);
  }
  access.write(args.out);
  const auto& entry =
      kernels::choose(kOp, kernels::attn_prefill_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
