// SPDX-License-Identifier: Apache-2.0
// Coded caches as the float64 oracles of the dense ops see them: every row decoded and rotated
// back, so that they know nothing of the rotated domain.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/common/attn_oracle_kit.h"
#include "kernels/turboquant/reference.h"
#include "mlxn/ops/turboquant.h"

namespace mlxn::testing {

// All rows in f32, as the dense ops would hold them.
inline Buffer dense_rows(const Device& device, const ops::TqRows& rows, int64_t dim) {
  const kernels::TqCache cache = kernels::tq_cache(rows, dim);
  const Shape& shape = rows.codes.shape();
  std::vector<float> values;
  for (int64_t r = 0; r < shape[0] * shape[1] * shape[2]; ++r) {
    const auto row = kernels::tq_decode_reference(cache, r, true);
    values.insert(values.end(), row.begin(), row.end());
  }
  return make_buffer(device, f32, {shape[0], shape[1], shape[2], dim}, values);
}

// The largest norm of a row.
inline double largest_norm(std::span<const float> values, int64_t dim) {
  double largest = 0.0;
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(dim)) {
    double sum = 0.0;
    for (size_t i = begin; i < begin + static_cast<size_t>(dim); ++i) {
      sum += double{values[i]} * values[i];
    }
    if (sum > largest) largest = sum;  // not NaN
  }
  return std::sqrt(largest);
}

// A rotation costs up to 1e-6 of the norm of what is rotated, spread over its elements: of outputs,
// and of queries, whose scores are then as inexact as if they were `score` larger.
inline void allow_rotation(kernels::AttnReference& r, double score) {
  const size_t width = r.out.size() / r.z_max.size();
  for (size_t row = 0; row < r.z_max.size(); ++row) {
    r.z_max[row] += score;
    double sum = 0.0;
    for (size_t i = 0; i < width; ++i) sum += r.weight[row * width + i];
    for (size_t i = 0; i < width; ++i) {
      r.weight[row * width + i] =
          std::max(r.weight[row * width + i], sum / static_cast<double>(width));
    }
  }
}

inline ops::AttnDecodeArgs dense_args(const Device& device, const ops::AttnDecodeTqArgs& args) {
  ops::AttnDecodeArgs dense;
  dense.q = args.q;
  dense.k = dense_rows(device, args.k, args.q.dim(2));
  dense.v = dense_rows(device, args.v, args.out.dim(2));
  dense.out = args.out;
  dense.kv_len = args.kv_len;
  dense.ring_start = args.ring_start;
  dense.ring = args.ring;
  dense.softmax_scale = args.softmax_scale;
  dense.logits_soft_cap = args.logits_soft_cap;
  dense.mask = args.mask;
  dense.window_size = args.window_size;
  dense.sinks = args.sinks;
  dense.alibi_slopes = args.alibi_slopes;
  dense.block_table = args.block_table;
  return dense;
}

inline ops::AttnPrefillArgs dense_args(const Device& device, const ops::AttnPrefillTqArgs& args) {
  ops::AttnPrefillArgs dense;
  dense.q = args.q;
  dense.k = dense_rows(device, args.k, args.q.dim(3));
  dense.v = dense_rows(device, args.v, args.out.dim(3));
  dense.out = args.out;
  dense.q_layout = args.q_layout;
  dense.kv_len = args.kv_len;
  dense.q_offset = args.q_offset;
  dense.ring_start = args.ring_start;
  dense.ring = args.ring;
  dense.softmax_scale = args.softmax_scale;
  dense.logits_soft_cap = args.logits_soft_cap;
  dense.causal = args.causal;
  dense.window_size = args.window_size;
  dense.window_ahead = args.window_ahead;
  dense.chunk_size = args.chunk_size;
  dense.prefix_len = args.prefix_len;
  dense.sinks = args.sinks;
  dense.alibi_slopes = args.alibi_slopes;
  dense.block_table = args.block_table;
  return dense;
}

template <class Args>
kernels::AttnReference tq_oracle_of(const Device& device, const Args& args) {
  const auto dense = dense_args(device, args);
  kernels::AttnReference reference = oracle_of(dense);
  const int64_t dim = dense.k.dim(3);
  const double norms =
      largest_norm(to_floats(dense.q), dim) * largest_norm(to_floats(dense.k), dim);
  allow_rotation(reference, std::abs(args.softmax_scale) * norms / std::sqrt(double(dim)));
  return reference;
}

// Pages [batch, pages] in a random order, two of the cache's unused.
inline Buffer make_block_table(const Device& device, int64_t batch, int64_t pages, Random& random) {
  std::vector<int32_t> order(static_cast<size_t>(batch * pages + 2));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  for (size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i)))]);
  }
  return device.upload(order.data(), i32, {batch, pages});
}

// The rows of a contiguous cache on those pages; unused ones are all ones, so that their norms are
// NaN.
inline ops::TqRows on_pages(const Device& device, const ops::TqRows& rows,
                            const Buffer& block_table, int64_t page_size) {
  const int64_t batch = block_table.dim(0), pages = block_table.dim(1), heads = rows.codes.dim(1);
  ops::TqRows paged{{}, {}, rows.format};
  for (auto [to, from] :
       {std::pair{&paged.codes, &rows.codes}, std::pair{&paged.norms, &rows.norms}}) {
    *to = device.alloc(from->dtype(), {batch * pages + 2, heads, page_size, from->dim(3)});
    std::memset(to->data(), 0xff, to->byte_len());
    const size_t row = static_cast<size_t>(from->dim(3)) * size_of(from->dtype());
    for (int64_t i = 0; i < batch * heads * pages * page_size; ++i) {
      const int64_t slot = i % (pages * page_size), head = i / (pages * page_size) % heads;
      const int64_t b = i / (pages * page_size) / heads;
      const int64_t page =
          block_table.span<int32_t>()[static_cast<size_t>(b * pages + slot / page_size)];
      const int64_t at = (page * heads + head) * page_size + slot % page_size;
      std::memcpy(to->data() + static_cast<size_t>(at) * row,
                  from->data() + static_cast<size_t>(i) * row, row);
    }
  }
  return paged;
}

// Slots of a ring of `capacity` after position `end` - 1 was written, where position a comes from
// slot a of `linear`; slots without a key are all ones.
inline ops::TqRows ring_of(const Device& device, const ops::TqRows& linear, int64_t end,
                           int64_t capacity) {
  ops::TqRows ring{{}, {}, linear.format};
  for (auto [to, from] :
       {std::pair{&ring.codes, &linear.codes}, std::pair{&ring.norms, &linear.norms}}) {
    *to = device.alloc(from->dtype(), {from->dim(0), from->dim(1), capacity, from->dim(3)});
    std::memset(to->data(), 0xff, to->byte_len());
    const size_t row = static_cast<size_t>(from->dim(3)) * size_of(from->dtype());
    for (int64_t block = 0; block < from->dim(0) * from->dim(1); ++block) {
      for (int64_t a = std::max<int64_t>(0, end - capacity); a < end; ++a) {
        std::memcpy(to->data() + static_cast<size_t>(block * capacity + a % capacity) * row,
                    from->data() + static_cast<size_t>(block * from->dim(2) + a) * row, row);
      }
    }
  }
  return ring;
}

// Row `row` of the cache is what `src` becomes: indices by the rule of attention.md 3.6, norms,
// with `correction` for the codes that were found.
inline void expect_coded_row(const kernels::TqCache& c, int64_t row, const float* src,
                             bool correction = false) {
  const auto expected = kernels::tq_encode_reference(c, src);
  const int64_t each = c.dim / c.norm_count;
  std::vector<double> with_itself(2, 0.0), with_level(2, 0.0);  // of each norm's elements
  for (int64_t j = 0; j < c.dim; ++j) {
    const double z = expected.z[static_cast<size_t>(j)];
    const uint32_t index = expected.index[static_cast<size_t>(j)];
    const uint32_t found = kernels::tq_code_reference(c, row, j);
    with_itself[static_cast<size_t>(j / each)] += z * z;
    with_level[static_cast<size_t>(j / each)] += z * double{c.table.levels[found]};
    if (found == c.table.code_of(index)) continue;
    // A neighbour, if z is as good as on the boundary between the two.
    const bool up = index + 1 < 1u << c.table.bits && found == c.table.code_of(index + 1);
    const bool down = index > 0 && found == c.table.code_of(index - 1);
    ASSERT_TRUE(up || down) << "row " << row << " element " << j;
    const double bound = c.table.bounds[up ? index : index - 1];
    ASSERT_LE(std::abs(z - bound), 1e-5 * std::max(1.0, std::abs(z))) << row << " " << j;
  }
  for (size_t b = 0; b < static_cast<size_t>(c.norm_count); ++b) {
    double norm = expected.norms[b];
    if (correction && with_level[b] > 0.0) norm *= with_itself[b] / with_level[b];
    EXPECT_NEAR(c.norms[row * c.norm_count + static_cast<int64_t>(b)], norm,
                (correction ? 2e-5 : 2e-6) * norm);
  }
}

}  // namespace mlxn::testing
