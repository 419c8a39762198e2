// SPDX-License-Identifier: Apache-2.0
// The oracle of kv_append: element by element, in the order of the tokens. One stream of p.dim.
#pragma once

#include <cstring>

#include "kernels/common/float_io.h"
#include "kernels/kv_append/params.h"

namespace mlxn::kernels {

inline void kv_append_reference(const KvAppendParams& p, const void* src, void* cache) {
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t t = 0; t < p.n; ++t) {
      int64_t slot = p.pos[b] + p.pos_skip + t;
      if (p.ring) slot %= p.capacity;
      for (int64_t h = 0; h < p.num_kv_heads; ++h) {
        for (int64_t i = 0; i < p.dim; ++i) {
          const int64_t from = ((b * p.n_src + p.src_offset + t) * p.num_kv_heads + h) * p.dim + i;
          int64_t to = p.token_major ? ((b * p.capacity + slot) * p.num_kv_heads + h) * p.dim + i
                                     : ((b * p.num_kv_heads + h) * p.capacity + slot) * p.dim + i;
          if (p.pages.table != nullptr) {
            const int64_t size = p.pages.page_size;
            const int64_t page = p.pages.table[b * p.pages.per_sequence + slot / size];
            if (page < 0 || page >= p.pages.count) continue;
            to = ((page * p.num_kv_heads + h) * size + slot % size) * p.dim + i;
          }
          const size_t size = size_of(p.src_dtype);
          if (p.src_dtype == p.cache_dtype) {
            std::memcpy(static_cast<char*>(cache) + static_cast<size_t>(to) * size,
                        static_cast<const char*>(src) + static_cast<size_t>(from) * size, size);
          } else {
            const float value = load_one(p.src_dtype, src, from);
            store_f32(p.cache_dtype, &value, 1, cache, to);
          }
        }
      }
    }
  }
}

}  // namespace mlxn::kernels
