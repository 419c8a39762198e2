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

// Rows in the order batch, head, query; queries from first_query on only.
inline AttnReference attn_prefill_reference(const AttnPrefillParams& p, int64_t first_query = 0) {
  const auto q = widened(p.q_dtype, p.q, p.batch * p.num_heads * p.q_len * p.head_dim);
  const int64_t rows = p.batch * p.num_kv_heads * p.capacity;
  const auto k = widened(p.kv_dtype, p.k, rows * p.head_dim);
  const auto v = widened(p.kv_dtype, p.v, rows * p.v_dim);
  const AttnReferenceRule rule{p.head_dim, p.v_dim, p.softmax_scale, p.logits_soft_cap};
  AttnReference r;
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t kv_len = p.kv_len[b];
    const int64_t offset = p.q_offset ? p.q_offset[b] : kv_len - p.q_len;
    const int64_t start = p.ring_start ? p.ring_start[b] : 0;
    for (int64_t h = 0; h < p.num_heads; ++h) {
      const int64_t kv_head = h / (p.num_heads / p.num_kv_heads);
      for (int64_t i = first_query; i < p.q_len; ++i) {
        std::vector<const float*> keys, values;
        const int64_t position = offset + i;
        for (int64_t a = std::max<int64_t>(0, kv_len - p.capacity); a < kv_len; ++a) {
          if (p.causal && a > position) continue;
          if (p.window_size > 0 && position - a >= p.window_size) continue;
          const int64_t slot = (a + start) % p.capacity;
          if (slot >= kv_len) continue;
          keys.push_back(reference_row(k, p.k_strides, b, kv_head, slot));
          values.push_back(reference_row(v, p.v_strides, b, kv_head, slot));
        }
        append_row(r, rule, reference_row(q, p.q_strides, b, h, i), keys, values);
      }
    }
  }
  return r;
}

}  // namespace mlxn::kernels
