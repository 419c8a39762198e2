// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/no_memory.h"
#include "kernels/attn_prefill/params.h"
#include "mlxn/ops/attention.h"
#include "ops/attention_args.h"

namespace mlxn::ops {
namespace {

constexpr const char* kOp = "attn_prefill";
constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

// Extents of an operand under its layout, and where its rows lie. Packed rows are one sequence.
struct Operand {
  int64_t batch, heads, len, dim;
  kernels::AttnStrides strides;
};

Operand describe(const Buffer& buffer, SeqLayout layout, bool packed) {
  if (packed) {
    const int64_t len = buffer.dim(0), heads = buffer.dim(1), dim = buffer.dim(2);
    return {1, heads, len, dim, {0, dim, heads * dim}};
  }
  const int64_t batch = buffer.dim(0), dim = buffer.dim(3);
  if (layout == SeqLayout::kHeadMajor) {
    const int64_t heads = buffer.dim(1), len = buffer.dim(2);
    return {batch, heads, len, dim, {heads * len * dim, len * dim, dim}};
  }
  const int64_t len = buffer.dim(1), heads = buffer.dim(2);
  return {batch, heads, len, dim, {heads * len * dim, dim, heads * dim}};
}

Shape shape_of(const Operand& o, SeqLayout layout, bool packed) {
  if (packed) return {o.len, o.heads, o.dim};
  return layout == SeqLayout::kHeadMajor ? Shape{o.batch, o.heads, o.len, o.dim}
                                         : Shape{o.batch, o.len, o.heads, o.dim};
}

void check_layout(const char* parameter, SeqLayout layout) {
  if (layout != SeqLayout::kHeadMajor && layout != SeqLayout::kSeqMajor) {
    fail(kOp, parameter, std::to_string(static_cast<int>(layout)), "kHeadMajor or kSeqMajor");
  }
}

// What the shapes say.
struct Problem {
  Operand q, k, v, out;
  int64_t batch;
  int64_t capacity;  // slots of a sequence; with k_starts all packed rows
  kernels::KeyPages pages;
  bool packed_q, packed_k;
};

// The number of sequences, before the shapes of q and k are compared.
int64_t check_packing(const Device& device, const AttnPrefillArgs& args) {
  if (args.q_starts.empty()) {
    if (!args.k_starts.empty()) fail(kOp, "k_starts", "given without q_starts", "both or neither");
    return args.q.dim(0);
  }
  if (args.mask) fail(kOp, "mask", "given together with q_starts", "one of the two");
  const int64_t batch = check_starts(kOp, "q_starts", device, args.q_starts, args.q.dim(0));
  if (args.k_starts.empty()) return batch;
  for (const auto& [name, lengths] :
       {std::pair("kv_len", &args.kv_len), std::pair("ring_start", &args.ring_start)}) {
    if (!lengths->empty()) fail(kOp, name, "given together with k_starts", "one of the two");
  }
  if (args.ring) fail(kOp, "ring", "given together with k_starts", "a cache");
  if (args.block_table) fail(kOp, "block_table", "given together with k_starts", "one of the two");
  const int64_t k_batch = check_starts(kOp, "k_starts", device, args.k_starts, args.k.dim(0));
  if (k_batch != batch) {
    fail(kOp, "k_starts", std::to_string(k_batch) + " sequences",
         std::to_string(batch) + ", as q_starts has");
  }
  return batch;
}

Problem check_shapes(const Device& device, const AttnPrefillArgs& args) {
  const bool packed_q = !args.q_starts.empty(), packed_k = !args.k_starts.empty();
  check_attention_buffers(kOp, device, args.q, args.k, args.v, args.out, packed_q ? 3 : 4,
                          packed_k ? 3 : 4);
  check_layout("q_layout", args.q_layout);
  check_layout("kv_layout", args.kv_layout);
  if (args.block_table && args.kv_layout != SeqLayout::kHeadMajor) {
    fail(kOp, "kv_layout", "kSeqMajor with block_table", "kHeadMajor");
  }
  const int64_t batch = check_packing(device, args);
  Problem s{.q = describe(args.q, args.q_layout, packed_q),
            .k = describe(args.k, args.kv_layout, packed_k),
            .v = describe(args.v, args.kv_layout, packed_k),
            .out = {},
            .batch = batch,
            .capacity = 0,
            .pages = {},
            .packed_q = packed_q,
            .packed_k = packed_k};
  check_head_dim(kOp, "q", s.q.dim);
  check_head_dim(kOp, "v", s.v.dim);
  const int64_t blocks = packed_k ? 1 : args.block_table ? args.k.dim(0) : batch;
  check_shape(kOp, "k", args.k,
              shape_of({blocks, s.k.heads, s.k.len, s.q.dim, {}}, args.kv_layout, packed_k));
  check_shape(kOp, "v", args.v,
              shape_of({blocks, s.k.heads, s.k.len, s.v.dim, {}}, args.kv_layout, packed_k));
  check_shape(kOp, "out", args.out,
              shape_of({s.q.batch, s.q.heads, s.q.len, s.v.dim, {}}, args.q_layout, packed_q));
  s.out = describe(args.out, args.q_layout, packed_q);
  check_head_counts(kOp, batch, s.q.heads, s.k.heads);
  s.capacity = s.k.len;
  if (args.block_table) {
    s.pages = check_block_table(kOp, device, args.block_table, "k", args.k, batch);
    s.capacity = s.pages.per_sequence * s.pages.page_size;
  }
  check_range(kOp, "k: capacity", s.capacity, 1, kIntMax);
  check_range(kOp, "q: length", s.q.len, 1, kIntMax);
  check_head_values(kOp, "sinks", device, args.sinks, s.q.heads);
  check_head_values(kOp, "alibi_slopes", device, args.alibi_slopes, s.q.heads);
  check_lse(kOp, device, args.lse,
            packed_q ? Shape{s.q.heads, s.q.len} : Shape{batch, s.q.heads, s.q.len});
  return s;
}

// Queries of sequence b, if they are known now.
std::optional<int64_t> query_count(const AttnPrefillArgs& args, const Problem& s, int64_t b) {
  if (!s.packed_q) return s.q.len;
  if (args.q_starts.device.valid()) return std::nullopt;
  const auto at = static_cast<size_t>(b);
  return args.q_starts.host[at + 1] - args.q_starts.host[at];
}

std::optional<int64_t> key_count(const AttnPrefillArgs& args, const Problem& s, int64_t b) {
  if (!s.packed_k) return host_value(args.kv_len, b);
  if (args.k_starts.device.valid()) return std::nullopt;
  const auto at = static_cast<size_t>(b);
  return args.k_starts.host[at + 1] - args.k_starts.host[at];
}

void check_lengths_of(const Device& device, const AttnPrefillArgs& args, const Problem& s) {
  if (!s.packed_k) {
    check_lengths(kOp, "kv_len", device, args.kv_len, s.batch, 1, args.ring ? kIntMax : s.capacity);
  }
  if (!args.q_offset.empty()) {
    check_lengths(kOp, "q_offset", device, args.q_offset, s.batch, 0, kIntMax);
  }
  if (!args.prefix_len.empty()) {
    check_lengths(kOp, "prefix_len", device, args.prefix_len, s.batch, 0, kIntMax);
  }
  if (!args.ring_start.empty()) {
    if (args.ring) fail(kOp, "ring_start", "given together with ring", "one of the two");
    check_lengths(kOp, "ring_start", device, args.ring_start, s.batch, 0, s.capacity - 1);
  }
  const CacheReach cache{s.capacity, args.ring, args.window_size, args.chunk_size};
  for (int64_t b = 0; b < s.batch; ++b) {
    check_chunk(kOp, cache, key_count(args, s, b), query_count(args, s, b), args.q_offset, b);
  }
}

// Planes of an explicit mask from one sequence, or head, to the next.
kernels::AttnMask check_mask(const Device& device, const AttnPrefillArgs& args, const Problem& s) {
  const Buffer& mask = args.mask;
  const AttnMaskTiles& tiles = args.mask_tiles;
  if (!mask) {
    if (tiles.classes) fail(kOp, "mask_tiles", "given without a mask", "the mask they belong to");
    return {};
  }
  check_buffer(kOp, "mask", mask, device, {f32, f16, bf16, u8});
  const size_t rank = mask.rank();
  if (rank != 2 && rank != 4) {
    fail(kOp, "mask", "shape " + to_string(mask.shape()), "2 or 4 extents");
  }
  const int64_t batch = rank == 4 ? mask.dim(0) : 1, heads = rank == 4 ? mask.dim(1) : 1;
  const int64_t rows = mask.dim(rank - 2), columns = mask.dim(rank - 1);
  if (rows != s.q.len || (batch != 1 && batch != s.batch) || (heads != 1 && heads != s.q.heads)) {
    fail(kOp, "mask", to_string(mask.shape()),
         to_string({s.batch, s.q.heads, s.q.len}) + " and keys, sequences and heads or 1 of each");
  }
  check_range(kOp, "mask: keys", columns, 1, kIntMax);
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto kv_len = key_count(args, s, b);
    if (kv_len && columns < *kv_len) {
      fail(kOp, "mask", std::to_string(columns) + " keys",
           "at least the " + std::to_string(*kv_len) + " of kv_len");
    }
  }
  kernels::AttnMask result{.data = mask.data(),
                           .dtype = mask.dtype(),
                           .batch = batch == 1 ? 0 : heads,
                           .head = heads == 1 ? 0 : 1,
                           .rows = rows,
                           .columns = columns,
                           .classes = nullptr};
  if (!tiles.classes) return result;
  if (tiles.q_tile != kAttnMaskQTile || tiles.k_tile != kAttnMaskKTile) {
    fail(kOp, "mask_tiles",
         "tiles of " + std::to_string(tiles.q_tile) + " x " + std::to_string(tiles.k_tile),
         std::to_string(kAttnMaskQTile) + " x " + std::to_string(kAttnMaskKTile));
  }
  check_buffer(kOp, "mask_tiles", tiles.classes, device, {u8});
  Shape shape = mask.shape();
  shape[rank - 2] = (rows + kAttnMaskQTile - 1) / kAttnMaskQTile;
  shape[rank - 1] = (columns + kAttnMaskKTile - 1) / kAttnMaskKTile;
  check_shape(kOp, "mask_tiles", tiles.classes, shape);
  result.classes = reinterpret_cast<const uint8_t*>(tiles.classes.data());
  return result;
}

void check_options(const AttnPrefillArgs& args) {
  check_score_rule(kOp, args.softmax_scale, args.logits_soft_cap);
  check_min(kOp, "window_size", args.window_size, 0);
  check_min(kOp, "window_ahead", args.window_ahead, 0);
  check_min(kOp, "chunk_size", args.chunk_size, 0);
}

void check_outputs(const AttnPrefillArgs& args) {
  check_disjoint(kOp, {{"out", &args.out}, {"lse", &args.lse}},
                 {{"q", &args.q},
                  {"k", &args.k},
                  {"v", &args.v},
                  {"kv_len", &args.kv_len.device},
                  {"q_offset", &args.q_offset.device},
                  {"ring_start", &args.ring_start.device},
                  {"prefix_len", &args.prefix_len.device},
                  {"q_starts", &args.q_starts.device},
                  {"k_starts", &args.k_starts.device},
                  {"mask", &args.mask},
                  {"mask_tiles", &args.mask_tiles.classes},
                  {"sinks", &args.sinks},
                  {"alibi_slopes", &args.alibi_slopes},
                  {"block_table", &args.block_table}});
}

}  // namespace

void attn_prefill(Stream& stream, const AttnPrefillArgs& args) try {
  const Problem s = check_shapes(stream.device(), args);
  check_options(args);
  check_lengths_of(stream.device(), args, s);
  const kernels::AttnMask mask = check_mask(stream.device(), args, s);
  check_outputs(args);
  const auto resolve = [&](const Lengths& lengths, int64_t count) {
    return lengths.empty() ? Buffer() : resolve_lengths(stream, lengths, count);
  };
  const Buffer kv_len = resolve(args.kv_len, s.batch), q_offset = resolve(args.q_offset, s.batch);
  const Buffer ring_start = resolve(args.ring_start, s.batch);
  const Buffer prefix_len = resolve(args.prefix_len, s.batch);
  const Buffer q_starts = resolve(args.q_starts, s.batch + 1);
  const Buffer k_starts = resolve(args.k_starts, s.batch + 1);
  const kernels::AttnPrefillParams params{
      .q = args.q.data(),
      .k = args.k.data(),
      .v = args.v.data(),
      .out = args.out.data(),
      .kv_len = address_of(kv_len),
      .q_offset = address_of(q_offset),
      .ring_start = address_of(ring_start),
      .q_strides = s.q.strides,
      .k_strides = s.k.strides,
      .v_strides = s.v.strides,
      .out_strides = s.out.strides,
      .batch = s.batch,
      .num_heads = s.q.heads,
      .num_kv_heads = s.k.heads,
      .q_len = s.q.len,
      .capacity = s.capacity,
      .window_size = std::min(args.window_size, kIntMax),
      .head_dim = static_cast<int32_t>(s.q.dim),
      .v_dim = static_cast<int32_t>(s.v.dim),
      .q_dtype = args.q.dtype(),
      .kv_dtype = args.k.dtype(),
      .softmax_scale = args.softmax_scale,
      .logits_soft_cap = args.logits_soft_cap,
      .causal = args.causal,
      .ring = args.ring,
      .pages = s.pages,
      .window_ahead = std::min(args.window_ahead, kIntMax),
      .chunk_size = std::min(args.chunk_size, kIntMax),
      .prefix_len = address_of(prefix_len),
      .mask = mask,
      .q_starts = address_of(q_starts),
      .k_starts = address_of(k_starts),
      .sinks = floats_of(args.sinks),
      .alibi_slopes = floats_of(args.alibi_slopes),
      .lse = floats_of(args.lse),
  };
  backends::Access access;
  for (const Buffer* input :
       {&args.q, &args.k, &args.v, &kv_len, &q_offset, &ring_start, &prefix_len, &q_starts,
        &k_starts, &args.mask, &args.mask_tiles.classes, &args.sinks, &args.alibi_slopes,
        &args.block_table}) {
    access.read(*input);
  }
  access.write(args.out);
  access.write(args.lse);
  const auto& entry =
      kernels::choose(kOp, kernels::attn_prefill_entries(), stream.device(), params);
  entry.launch(stream.impl(), params, std::move(access));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
