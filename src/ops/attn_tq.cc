// SPDX-License-Identifier: Apache-2.0
// Attention over coded caches.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_decode_tq/params.h"
#include "kernels/attn_prefill_tq/params.h"
#include "ops/turboquant_args.h"

namespace mlxn::ops {
namespace {

constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

// What the shapes say of the caches.
struct Caches {
  int64_t capacity;  // slots of a sequence
  kernels::KeyPages pages;
};

// The operands that decode and prefill share. q and out have `rank` extents; rows of the caches
// have the last extents of q and of out.
template <class Args>
Caches check_operands(const char* op, const Device& device, const Args& args, size_t rank) {
  check_buffer(op, "q", args.q, device, {f32, f16, bf16});
  check_output(op, "out", args.out, device, {f32, f16, bf16});
  for (const auto& [name, buffer] : {std::pair{"q", &args.q}, std::pair{"out", &args.out}}) {
    if (buffer->rank() == rank) continue;
    fail(op, name, "shape " + to_string(buffer->shape()), std::to_string(rank) + " extents");
  }
  if (args.out.dtype() != args.q.dtype()) {
    fail(op, "out", std::string(name(args.out.dtype())),
         std::string(name(args.q.dtype())) + ", the dtype of q");
  }
  const int64_t batch = args.q.dim(0), dim = args.q.dim(rank - 1), v_dim = args.out.dim(rank - 1);
  Caches caches{check_tq_rows(op, "k", device, args.k, args.block_table ? 0 : batch, 0, dim), {}};
  const Buffer& codes = args.k.codes;
  check_tq_rows(op, "v", device, args.v, codes.dim(0), codes.dim(1), v_dim);
  check_range(op, "v.codes: capacity", args.v.codes.dim(2), codes.dim(2), codes.dim(2));
  if (args.block_table) {
    caches.pages = check_block_table(op, device, args.block_table, "k.codes", codes, batch);
    caches.capacity = caches.pages.per_sequence * caches.pages.page_size;
  }
  check_score_rule(op, args.softmax_scale, args.logits_soft_cap);
  check_lengths(op, "kv_len", device, args.kv_len, batch, 1, args.ring ? kIntMax : caches.capacity);
  if (!args.ring_start.empty()) {
    if (args.ring) fail(op, "ring_start", "given together with ring", "one of the two");
    check_lengths(op, "ring_start", device, args.ring_start, batch, 0, caches.capacity - 1);
  }
  check_disjoint(op, {{"out", &args.out}, {"lse", &args.lse}},
                 {{"q", &args.q},
                  {"k.codes", &args.k.codes},
                  {"k.norms", &args.k.norms},
                  {"v.codes", &args.v.codes},
                  {"v.norms", &args.v.norms},
                  {"kv_len", &args.kv_len.device},
                  {"ring_start", &args.ring_start.device},
                  {"sinks", &args.sinks},
                  {"alibi_slopes", &args.alibi_slopes},
                  {"block_table", &args.block_table}});
  return caches;
}

// What both read and write.
template <class Args>
backends::Access access_of(const Args& args) {
  backends::Access access;
  for (const Buffer* input : {&args.q, &args.k.codes, &args.k.norms, &args.v.codes, &args.v.norms,
                              &args.sinks, &args.alibi_slopes, &args.block_table}) {
    access.read(*input);
  }
  access.write(args.out);
  access.write(args.lse);
  return access;
}

Caches check(const Device& device, const AttnDecodeTqArgs& args) {
  const char* op = "attn_decode_tq";
  const Caches caches = check_operands(op, device, args, 3);
  const int64_t batch = args.q.dim(0), heads = args.q.dim(1);
  check_shape(op, "out", args.out, {batch, heads, args.out.dim(2)});
  check_head_counts(op, batch, heads, args.k.codes.dim(1));
  check_decode_mask(op, args.mask, args.window_size, args.ring_start);
  check_range(op, "n_split", args.n_split, 0, 1024);
  check_head_values(op, "sinks", device, args.sinks, heads);
  check_head_values(op, "alibi_slopes", device, args.alibi_slopes, heads);
  check_lse(op, device, args.lse, {batch, heads});
  return caches;
}

// Extents of q and out under their layout, and where their rows lie.
struct Queries {
  int64_t heads, len;
  kernels::AttnStrides q, out;
};

Queries describe(const AttnPrefillTqArgs& args) {
  const bool head_major = args.q_layout == SeqLayout::kHeadMajor;
  const int64_t heads = args.q.dim(head_major ? 1 : 2), len = args.q.dim(head_major ? 2 : 1);
  const auto strides = [&](int64_t dim) {
    return head_major ? kernels::AttnStrides{heads * len * dim, len * dim, dim}
                      : kernels::AttnStrides{heads * len * dim, dim, heads * dim};
  };
  return {heads, len, strides(args.q.dim(3)), strides(args.out.dim(3))};
}

Caches check(const Device& device, const AttnPrefillTqArgs& args) {
  const char* op = "attn_prefill_tq";
  if (args.q_layout != SeqLayout::kHeadMajor && args.q_layout != SeqLayout::kSeqMajor) {
    fail(op, "q_layout", std::to_string(static_cast<int>(args.q_layout)),
         "kHeadMajor or kSeqMajor");
  }
  const Caches caches = check_operands(op, device, args, 4);
  const Queries queries = describe(args);
  const int64_t batch = args.q.dim(0);
  check_shape(op, "out", args.out, {batch, args.q.dim(1), args.q.dim(2), args.out.dim(3)});
  check_head_counts(op, batch, queries.heads, args.k.codes.dim(1));
  check_range(op, "q: length", queries.len, 1, kIntMax);
  check_min(op, "window_size", args.window_size, 0);
  check_min(op, "window_ahead", args.window_ahead, 0);
  check_min(op, "chunk_size", args.chunk_size, 0);
  for (const auto& [name, lengths] :
       {std::pair{"q_offset", &args.q_offset}, std::pair{"prefix_len", &args.prefix_len}}) {
    if (!lengths->empty()) check_lengths(op, name, device, *lengths, batch, 0, kIntMax);
    check_disjoint(op, {{"out", &args.out}, {"lse", &args.lse}}, {{name, &lengths->device}});
  }
  const CacheReach cache{caches.capacity, args.ring, args.window_size, args.chunk_size};
  for (int64_t b = 0; b < batch; ++b) {
    check_chunk(op, cache, host_value(args.kv_len, b), queries.len, args.q_offset, b);
  }
  check_head_values(op, "sinks", device, args.sinks, queries.heads);
  check_head_values(op, "alibi_slopes", device, args.alibi_slopes, queries.heads);
  check_lse(op, device, args.lse, {batch, queries.heads, queries.len});
  return caches;
}

}  // namespace

void attn_decode_tq(Stream& stream, const AttnDecodeTqArgs& args) try {
  const Caches caches = check(stream.device(), args);
  const int64_t batch = args.q.dim(0);
  const Buffer kv_len = resolve_lengths(stream, args.kv_len, batch);
  const Buffer ring_start =
      args.ring_start.empty() ? Buffer() : resolve_lengths(stream, args.ring_start, batch);
  const int64_t reach = std::min(args.window_size, kIntMax);
  kernels::AttnDecodeParams attn{};
  attn.q = args.q.data();
  attn.out = args.out.data();
  attn.kv_len = address_of(kv_len);
  attn.ring_start = address_of(ring_start);
  attn.batch = batch;
  attn.num_heads = args.q.dim(1);
  attn.num_kv_heads = args.k.codes.dim(1);
  attn.capacity = caches.capacity;
  attn.window_size = args.mask == MaskKind::kWindow ? reach : 0;
  attn.head_dim = static_cast<int32_t>(args.q.dim(2));
  attn.v_dim = static_cast<int32_t>(args.out.dim(2));
  attn.n_split = args.n_split;
  attn.q_dtype = args.q.dtype();
  attn.softmax_scale = args.softmax_scale;
  attn.logits_soft_cap = args.logits_soft_cap;
  attn.ring = args.ring;
  attn.pages = caches.pages;
  attn.chunk_size = args.mask == MaskKind::kChunk ? reach : 0;
  attn.sinks = floats_of(args.sinks);
  attn.alibi_slopes = floats_of(args.alibi_slopes);
  attn.lse = floats_of(args.lse);
  const kernels::AttnDecodeTqParams params{.attn = attn,
                                           .k = kernels::tq_cache(args.k, attn.head_dim),
                                           .v = kernels::tq_cache(args.v, attn.v_dim),
                                           .rotated = args.rotated};
  backends::Access access = access_of(args);
  access.read(kv_len);
  access.read(ring_start);
  const auto& entry =
      kernels::choose("attn_decode_tq", kernels::attn_decode_tq_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void attn_prefill_tq(Stream& stream, const AttnPrefillTqArgs& args) try {
  const Caches caches = check(stream.device(), args);
  const Queries queries = describe(args);
  const int64_t batch = args.q.dim(0), slots = args.k.codes.dim(2);
  const auto resolve = [&](const Lengths& lengths) {
    return lengths.empty() ? Buffer() : resolve_lengths(stream, lengths, batch);
  };
  const Buffer kv_len = resolve(args.kv_len), q_offset = resolve(args.q_offset);
  const Buffer ring_start = resolve(args.ring_start), prefix_len = resolve(args.prefix_len);
  kernels::AttnPrefillParams attn{};
  attn.q = args.q.data();
  attn.out = args.out.data();
  attn.kv_len = address_of(kv_len);
  attn.q_offset = address_of(q_offset);
  attn.ring_start = address_of(ring_start);
  attn.q_strides = queries.q;
  attn.out_strides = queries.out;
  attn.batch = batch;
  attn.num_heads = queries.heads;
  attn.num_kv_heads = args.k.codes.dim(1);
  attn.k_strides = attn.v_strides = {attn.num_kv_heads * slots, slots, 1};
  attn.q_len = queries.len;
  attn.capacity = caches.capacity;
  attn.window_size = std::min(args.window_size, kIntMax);
  attn.head_dim = static_cast<int32_t>(args.q.dim(3));
  attn.v_dim = static_cast<int32_t>(args.out.dim(3));
  attn.q_dtype = args.q.dtype();
  attn.softmax_scale = args.softmax_scale;
  attn.logits_soft_cap = args.logits_soft_cap;
  attn.causal = args.causal;
  attn.ring = args.ring;
  attn.pages = caches.pages;
  attn.window_ahead = std::min(args.window_ahead, kIntMax);
  attn.chunk_size = std::min(args.chunk_size, kIntMax);
  attn.prefix_len = address_of(prefix_len);
  attn.sinks = floats_of(args.sinks);
  attn.alibi_slopes = floats_of(args.alibi_slopes);
  attn.lse = floats_of(args.lse);
  const kernels::AttnPrefillTqParams params{.attn = attn,
                                            .k = kernels::tq_cache(args.k, attn.head_dim),
                                            .v = kernels::tq_cache(args.v, attn.v_dim),
                                            .rotated = args.rotated};
  backends::Access access = access_of(args);
  for (const Buffer* input : {&kv_len, &q_offset, &ring_start, &prefix_len}) access.read(*input);
  const auto& entry = kernels::choose("attn_prefill_tq", kernels::attn_prefill_tq_entries(),
                                      stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
