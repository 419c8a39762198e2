// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of attn_prefill. It asks of every position whether it is visible.
#pragma once

#include "kernels/attn_prefill/params.h"
#include "kernels/common/attn_reference.h"

namespace mlxn::kernels {

inline const float* reference_row(const std::vector<float>& values, const AttnStrides& s, int64_t b,
                                  int64_t head, int64_t row) {
  return values.data() + b * s.batch + head * s.head + row * s.row;
}

// Whether the query at `position` may see the key at position a, explicit mask aside.
inline bool reference_sees(const AttnPrefillParams& p, int64_t b, int64_t position, int64_t a) {
  const int64_t prefix = p.prefix_len ? p.prefix_len[b] : 0;
  if (p.causal && a > position && a >= prefix) return false;
  if (p.window_size > 0 && position - a >= p.window_size) return false;
  if (p.window_ahead > 0 && a - position >= p.window_ahead) return false;
  return p.chunk_size == 0 || (position >= 0 && position / p.chunk_size == a / p.chunk_size);
}

// What the explicit mask adds to the score of query i and the key at position a; -infinity blocks.
inline double reference_bias(const AttnMask& mask, int64_t b, int64_t h, int64_t i, int64_t a) {
  if (mask.data == nullptr) return 0.0;
  if (a >= mask.columns) return -INFINITY;
  const int64_t at = ((b * mask.batch + h * mask.head) * mask.rows + i) * mask.columns + a;
  if (mask.dtype == DType::kU8) {
    return static_cast<const uint8_t*>(mask.data)[at] != 0 ? 0.0 : -INFINITY;
  }
  const double cell = load_one(mask.dtype, mask.data, at);
  const double sentinel = mask.dtype == DType::kF16 ? -65504.0 : double{-1e30f};
  return cell <= sentinel ? -INFINITY : cell;
}

// Rows in the order batch, head, query; queries from first_query on only.
inline AttnReference attn_prefill_reference(const AttnPrefillParams& p, int64_t first_query = 0) {
  const int64_t sequences = p.q_starts ? 1 : p.batch;
  const auto q = widened(p.q_dtype, p.q, sequences * p.num_heads * p.q_len * p.head_dim);
  const bool paged = p.pages.table != nullptr;
  const int64_t slots = paged ? p.pages.count * p.pages.page_size : p.capacity;
  const int64_t rows = p.num_kv_heads * slots * (paged || p.k_starts ? 1 : p.batch);
  const auto k = widened(p.kv_dtype, p.k, rows * p.head_dim);
  const auto v = widened(p.kv_dtype, p.v, rows * p.v_dim);
  const AttnReferenceRule rule{p.head_dim, p.v_dim, p.softmax_scale, p.logits_soft_cap};
  AttnReference r;
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t q_begin = p.q_starts ? p.q_starts[b] : 0;
    const int64_t q_len = p.q_starts ? p.q_starts[b + 1] - q_begin : p.q_len;
    const int64_t k_begin = p.k_starts ? p.k_starts[b] : 0;
    const int64_t kv_len = p.k_starts ? p.k_starts[b + 1] - k_begin : p.kv_len[b];
    const int64_t offset = p.q_offset ? p.q_offset[b] : kv_len - q_len;
    const int64_t start = p.ring_start ? p.ring_start[b] : 0;
    for (int64_t h = 0; h < p.num_heads; ++h) {
      const int64_t kv_head = h / (p.num_heads / p.num_kv_heads);
      for (int64_t i = first_query; i < q_len; ++i) {
        std::vector<const float*> keys, values;
        std::vector<double> biases;
        const int64_t position = offset + i;
        for (int64_t a = std::max<int64_t>(0, kv_len - p.capacity); a < kv_len; ++a) {
          if (!reference_sees(p, b, position, a)) continue;
          double bias = reference_bias(p.mask, b, h, i, a);
          if (bias == -INFINITY) continue;
          if (p.alibi_slopes) bias += p.alibi_slopes[h] * static_cast<double>(a - position);
          int64_t slot = (a + start) % p.capacity, block = b;
          if (slot >= kv_len) continue;
          if (paged) {
            block = p.pages.table[b * p.pages.per_sequence + slot / p.pages.page_size];
            if (block < 0 || block >= p.pages.count) continue;
            slot %= p.pages.page_size;
          }
          if (p.k_starts) slot = k_begin + a;
          keys.push_back(reference_row(k, p.k_strides, block, kv_head, slot));
          values.push_back(reference_row(v, p.v_strides, block, kv_head, slot));
          biases.push_back(bias);
        }
        append_row(r, rule, reference_row(q, p.q_strides, b, h, q_begin + i), keys, values, biases,
                   p.sinks ? double{p.sinks[h]} : -INFINITY);
      }
    }
  }
  return r;
}

}  // namespace mlxn::kernels
