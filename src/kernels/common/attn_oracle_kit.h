// SPDX-License-Identifier: Apache-2.0
// From the arguments of an attention op, its per-sequence values on the host, to what the float64
// oracle makes of them.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "kernels/attn_decode/reference.h"
#include "kernels/attn_prefill/reference.h"
#include "kernels/common/attn_test_kit.h"

namespace mlxn::testing {

// Per-sequence values as kernels read them. What it hands out lives as long as it does.
class HostValues {
 public:
  const int32_t* of(const Lengths& lengths, int64_t count) {
    if (lengths.empty()) return nullptr;
    std::vector<int32_t> values;
    for (int64_t i = 0; i < count; ++i) {
      const size_t at = lengths.host.size() == 1 ? 0 : static_cast<size_t>(i);
      values.push_back(lengths.device ? lengths.device.span<int32_t>()[static_cast<size_t>(i)]
                                      : static_cast<int32_t>(lengths.host[at]));
    }
    return kept_.emplace_back(std::move(values)).data();
  }

 private:
  std::deque<std::vector<int32_t>> kept_;
};

inline float* floats_of(const Buffer& values) {
  return values ? values.span<float>().data() : nullptr;
}

inline kernels::KeyPages pages_of(const Buffer& block_table, const Buffer& cache) {
  if (!block_table) return {};
  return {block_table.span<int32_t>().data(), block_table.dim(1), cache.dim(2), cache.dim(0)};
}

inline kernels::AttnReference oracle_of(const ops::AttnDecodeArgs& args) {
  HostValues values;
  const int64_t batch = args.q.dim(0);
  const kernels::KeyPages pages = pages_of(args.block_table, args.k);
  const bool chunks = args.mask == ops::MaskKind::kChunk;
  return kernels::attn_decode_reference(
      {.q = args.q.data(),
       .k = args.k.data(),
       .v = args.v.data(),
       .out = nullptr,
       .kv_len = values.of(args.kv_len, batch),
       .ring_start = values.of(args.ring_start, batch),
       .batch = batch,
       .num_heads = args.q.dim(1),
       .num_kv_heads = args.k.dim(1),
       .capacity = args.block_table ? pages.per_sequence * pages.page_size : args.k.dim(2),
       .window_size = chunks ? 0 : args.window_size,
       .head_dim = static_cast<int32_t>(args.q.dim(2)),
       .v_dim = static_cast<int32_t>(args.v.dim(3)),
       .n_split = 0,
       .q_dtype = args.q.dtype(),
       .kv_dtype = args.k.dtype(),
       .softmax_scale = args.softmax_scale,
       .logits_soft_cap = args.logits_soft_cap,
       .ring = args.ring,
       .pages = pages,
       .chunk_size = chunks ? args.window_size : 0,
       .sinks = floats_of(args.sinks),
       .alibi_slopes = floats_of(args.alibi_slopes)});
}

// Heads, length and dim of q, k, v or an output, and where its rows lie.
struct Laid {
  int64_t batch, heads, len, dim;
  kernels::AttnStrides strides;
};

inline Laid laid(const Buffer& b, ops::SeqLayout layout) {
  if (b.rank() == 3) {  // packed
    return {1, b.dim(1), b.dim(0), b.dim(2), {0, b.dim(2), b.dim(1) * b.dim(2)}};
  }
  if (layout == ops::SeqLayout::kHeadMajor) {
    const int64_t heads = b.dim(1), len = b.dim(2), dim = b.dim(3);
    return {b.dim(0), heads, len, dim, {heads * len * dim, len * dim, dim}};
  }
  const int64_t len = b.dim(1), heads = b.dim(2), dim = b.dim(3);
  return {b.dim(0), heads, len, dim, {heads * len * dim, dim, heads * dim}};
}

inline int64_t sequences_of(const ops::AttnPrefillArgs& args) {
  if (args.q_starts.empty()) return args.q.dim(0);
  return (args.q_starts.device ? args.q_starts.device.dim(0)
                               : static_cast<int64_t>(args.q_starts.host.size())) -
         1;
}

inline kernels::AttnMask mask_of(const ops::AttnPrefillArgs& args) {
  const Buffer& mask = args.mask;
  if (!mask) return {};
  const size_t rank = mask.rank();
  const int64_t heads = rank == 4 ? mask.dim(1) : 1;
  return {.data = mask.data(),
          .dtype = mask.dtype(),
          .batch = rank == 4 && mask.dim(0) > 1 ? heads : 0,
          .head = heads > 1 ? 1 : 0,
          .rows = mask.dim(rank - 2),
          .columns = mask.dim(rank - 1),
          .classes = nullptr};
}

inline kernels::AttnReference oracle_of(const ops::AttnPrefillArgs& args, int64_t first_query = 0) {
  HostValues values;
  const int64_t batch = sequences_of(args);
  const Laid q = laid(args.q, args.q_layout), k = laid(args.k, args.kv_layout);
  const Laid v = laid(args.v, args.kv_layout);
  const kernels::KeyPages pages = pages_of(args.block_table, args.k);
  return kernels::attn_prefill_reference(
      {.q = args.q.data(),
       .k = args.k.data(),
       .v = args.v.data(),
       .out = nullptr,
       .kv_len = values.of(args.kv_len, batch),
       .q_offset = values.of(args.q_offset, batch),
       .ring_start = values.of(args.ring_start, batch),
       .q_strides = q.strides,
       .k_strides = k.strides,
       .v_strides = v.strides,
       .out_strides = {},
       .batch = batch,
       .num_heads = q.heads,
       .num_kv_heads = k.heads,
       .q_len = q.len,
       .capacity = args.block_table ? pages.per_sequence * pages.page_size : k.len,
       .window_size = args.window_size,
       .head_dim = static_cast<int32_t>(q.dim),
       .v_dim = static_cast<int32_t>(v.dim),
       .q_dtype = args.q.dtype(),
       .kv_dtype = args.k.dtype(),
       .softmax_scale = args.softmax_scale,
       .logits_soft_cap = args.logits_soft_cap,
       .causal = args.causal,
       .ring = args.ring,
       .pages = pages,
       .window_ahead = args.window_ahead,
       .chunk_size = args.chunk_size,
       .prefix_len = values.of(args.prefix_len, batch),
       .mask = mask_of(args),
       .q_starts = values.of(args.q_starts, batch + 1),
       .k_starts = values.of(args.k_starts, batch + 1),
       .sinks = floats_of(args.sinks),
       .alibi_slopes = floats_of(args.alibi_slopes)},
      first_query);
}

// Runs the op with fresh guarded outputs; returns the arguments with them.
inline ops::AttnPrefillArgs run_prefill(Stream& stream, ops::AttnPrefillArgs args) {
  Shape shape = args.q.shape();
  shape.back() = args.v.shape().back();
  const Laid q = laid(args.q, args.q_layout);
  const bool packed = !args.q_starts.empty();
  const GuardedBuffer out(stream.device(), args.q.dtype(), shape);
  const GuardedBuffer lse(stream.device(), f32,
                          packed ? Shape{q.heads, q.len} : Shape{q.batch, q.heads, q.len});
  args.out = out.view();
  args.lse = lse.view();
  ops::attn_prefill(stream, args);
  stream.commit().wait();
  out.check();
  lse.check();
  return args;
}

// The rows of an attn_prefill output in the oracle's order: sequence, head, query.
inline Buffer in_oracle_order(const Device& device, const ops::AttnPrefillArgs& args) {
  HostValues values;
  const Laid out = laid(args.out, args.q_layout);
  const int64_t batch = sequences_of(args);
  const int32_t* starts = values.of(args.q_starts, batch + 1);
  const Buffer result = device.alloc(args.out.dtype(), {args.out.element_count()});
  const size_t row = static_cast<size_t>(out.dim) * size_of(args.out.dtype());
  size_t at = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t begin = starts ? starts[b] : 0, end = starts ? starts[b + 1] : out.len;
    for (int64_t h = 0; h < out.heads; ++h) {
      for (int64_t i = begin; i < end; ++i, ++at) {
        const int64_t from = b * out.strides.batch + h * out.strides.head + i * out.strides.row;
        std::memcpy(result.data() + at * row,
                    args.out.data() + static_cast<size_t>(from) * size_of(args.out.dtype()), row);
      }
    }
  }
  return result;
}

// A row with one key shows the rounding of its dot product: 64 sums of a lane in f32, of up to
// about 40 at head dim 512 and scale 1.
inline void expect_lse(std::span<const float> found, const kernels::AttnReference& reference,
                       const std::string& what) {
  expect_close(
      found, reference.lse,
      [&](size_t i) { return 2e-5 + 1e-6 * (reference.z_max[i] + std::abs(reference.lse[i])); },
      what + " lse");
}

// Pages of `page_size` slots of a cache [B, Hkv, C, D] in a shuffled order, and their block table.
// Pages that no sequence refers to are NaN; the table is longer than needed, its tail -1.
struct Paged {
  Buffer k, v, block_table;
};
inline Paged make_pages(const Device& device, const Buffer& k, const Buffer& v, int64_t page_size,
                        Random& random) {
  const int64_t batch = k.dim(0), heads = k.dim(1), capacity = k.dim(2);
  const int64_t used = (capacity + page_size - 1) / page_size, count = batch * used + 3;
  std::vector<int32_t> order(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  for (int64_t i = count - 1; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.integer(0, i))]);
  }
  Paged paged;
  std::vector<int32_t> table(static_cast<size_t>(batch * (used + 1)), -1);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t i = 0; i < used; ++i) {
      table[static_cast<size_t>(b * (used + 1) + i)] = order[static_cast<size_t>(b * used + i)];
    }
  }
  paged.block_table = device.upload(table.data(), DType::kI32, {batch, used + 1});
  for (auto [source, target] : {std::pair(&k, &paged.k), std::pair(&v, &paged.v)}) {
    const int64_t dim = source->dim(3);
    *target = device.alloc(source->dtype(), {count, heads, page_size, dim});
    poison_slots(*target, [](int64_t, int64_t) { return false; });
    const size_t row = static_cast<size_t>(dim) * size_of(source->dtype());
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t slot = 0; slot < capacity; ++slot) {
          const int64_t page = table[static_cast<size_t>(b * (used + 1) + slot / page_size)];
          const int64_t to = (page * heads + h) * page_size + slot % page_size;
          const int64_t from = (b * heads + h) * capacity + slot;
          std::memcpy(target->data() + static_cast<size_t>(to) * row,
                      source->data() + static_cast<size_t>(from) * row, row);
        }
      }
    }
  }
  return paged;
}

}  // namespace mlxn::testing
