// SPDX-License-Identifier: Apache-2.0
// kv_append: a thread moves V elements of one row of K and of V into their slot, rounded to the
// cache's type; rows of the same type are copied bit for bit. V is 16 bytes of the cache, so that
// neighbouring threads write neighbouring bytes.
//   k, v [batch, n_src, heads, dim]   caches [batch, heads, capacity, dim], [batch, capacity,
//   heads, dim] or [pages, heads, size, dim]   pos [batch]   block_table [batch, pages]
#include "kernels/common/gpu_attn.h"
#include "kernels/common/gpu_rows.h"
#include "kernels/kv_append/gpu_args.h"

KERNELS_BEGIN(kv_append)

// How elements go from `src` to `dst`.
struct Convert {
  template <int V, typename From, typename To>
  static GPU_FN void move(DEVICE const From* src, DEVICE To* dst, uint left, bool vectors) {
    float v[V];
    load_row<V>(src, left, vectors, v);
    store_row<V>(dst, left, vectors, v);
  }
};
struct Copy {
  template <int V, typename T, typename Same>
  static GPU_FN void move(DEVICE const T* src, DEVICE Same* dst, uint left, bool vectors) {
    if (vectors && left >= uint(V)) {
      UNROLL for (int i = 0; i < V; i += 16 / sizeof(T)) copy16(src + i, dst + i);
    } else {
      for (uint j = 0; j < V && j < left; j++) dst[j] = src[j];
    }
  }
};

template <typename Move, typename From, typename To>
KERNEL(kv_append, IN(From, k), IN(From, v), OUT(To, k_cache), OUT(To, v_cache), IN(int, pos),
       IN(int, block_table), PARAMS(GpuKvAppend, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(To);
  const uint piece = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  if (piece >= p.pieces) return;
  const uint at = piece % p.row_pieces * V, row = piece / p.row_pieces;
  const uint head = row % p.num_kv_heads, token = row / p.num_kv_heads % p.n;
  const uint b = row / p.num_kv_heads / p.n;

  const CacheSlot found = find_place(block_table, p.pages, b, long(pos[b]) + p.pos_skip + token,
                                     p.ring != 0, p.capacity);
  if (!found.held) return;
  const uint slots = p.pages.size > 0 ? p.pages.size : p.capacity;  // of a sequence or a page
  const ulong from = (ulong(b) * p.n_src + p.src_offset + token) * p.num_kv_heads + head;
  const ulong to = p.token_major != 0
                       ? (ulong(b) * p.capacity + found.slot) * p.num_kv_heads + head
                       : (ulong(found.block) * p.num_kv_heads + head) * slots + found.slot;
  if (at < p.dim) {
    Move::template move<V>(k + from * p.dim + at, k_cache + to * p.dim + at, p.dim - at,
                           p.vectors != 0);
  }
  if (p.has_v != 0 && at < p.v_dim) {
    Move::template move<V>(v + from * p.v_dim + at, v_cache + to * p.v_dim + at, p.v_dim - at,
                           p.vectors != 0);
  }
}

INSTANTIATE(kv_append_copy16, kv_append, Copy, ushort, ushort)
INSTANTIATE(kv_append_copy32, kv_append, Copy, uint, uint)
INSTANTIATE(kv_append_f32_f16, kv_append, Convert, float, half)
INSTANTIATE(kv_append_f32_bf16, kv_append, Convert, float, bfloat)
INSTANTIATE(kv_append_f16_f32, kv_append, Convert, half, float)
INSTANTIATE(kv_append_f16_bf16, kv_append, Convert, half, bfloat)
INSTANTIATE(kv_append_bf16_f32, kv_append, Convert, bfloat, float)
INSTANTIATE(kv_append_bf16_f16, kv_append, Convert, bfloat, half)

KERNELS_END
