// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of attn_decode. It asks of every slot whether it is visible, by the formulas
// of attention.md 1.7.
#pragma once

#include "kernels/attn_decode/params.h"
#include "kernels/common/attn_reference.h"

namespace mlxn::kernels {

inline AttnReference attn_decode_reference(const AttnDecodeParams& p) {
  const auto q = widened(p.q_dtype, p.q, p.batch * p.num_heads * p.head_dim);
  const bool paged = p.pages.table != nullptr;
  const int64_t rows =
      p.num_kv_heads * (paged ? p.pages.count * p.pages.page_size : p.batch * p.capacity);
  const auto k = widened(p.kv_dtype, p.k, rows * p.head_dim);
  const auto v = widened(p.kv_dtype, p.v, rows * p.v_dim);
  const AttnReferenceRule rule{p.head_dim, p.v_dim, p.softmax_scale, p.logits_soft_cap};
  AttnReference r;
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t num_valid = std::min<int64_t>(p.kv_len[b], p.capacity);
    int64_t start = p.ring_start ? p.ring_start[b] : 0;
    if (p.ring && p.kv_len[b] > p.capacity) start = p.kv_len[b] % p.capacity;
    for (int64_t h = 0; h < p.num_heads; ++h) {
      std::vector<const float*> keys, values;
      std::vector<double> bias;
      const int64_t kv_head = h / (p.num_heads / p.num_kv_heads);
      const double slope = p.alibi_slopes ? p.alibi_slopes[h] : 0.0;
      for (int64_t slot = 0; slot < num_valid; ++slot) {
        const int64_t logical = (slot - start + p.capacity) % p.capacity;
        if (logical >= num_valid) continue;
        if (p.window_size > 0 && logical < num_valid - p.window_size) continue;
        const int64_t newest = (p.ring ? p.kv_len[b] : num_valid) - 1;
        const int64_t position = newest - (num_valid - 1) + logical;
        if (p.chunk_size > 0 && position / p.chunk_size != newest / p.chunk_size) continue;
        int64_t row = (b * p.num_kv_heads + kv_head) * p.capacity + slot;
        if (paged) {
          const int64_t page = p.pages.table[b * p.pages.per_sequence + slot / p.pages.page_size];
          if (page < 0 || page >= p.pages.count) continue;
          row = (page * p.num_kv_heads + kv_head) * p.pages.page_size + slot % p.pages.page_size;
        }
        keys.push_back(k.data() + row * p.head_dim);
        values.push_back(v.data() + row * p.v_dim);
        bias.push_back(slope * static_cast<double>(position - newest));
      }
      append_row(r, rule, q.data() + (b * p.num_heads + h) * p.head_dim, keys, values, bias,
                 p.sinks ? double{p.sinks[h]} : -INFINITY);
    }
  }
  return r;
}

}  // namespace mlxn::kernels
