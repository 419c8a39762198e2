// SPDX-License-Identifier: Apache-2.0
// kv_append of 16-bit rows into a cache of the same type, written as plain CUDA: the algorithm of
// src/kernels/kv_append/gpu.h, for scripts/compare_sass.
#include <cstdint>

#include "kernels/kv_append/gpu_args.h"

namespace {

__device__ __forceinline__ void move8(const uint16_t* from, uint16_t* to, unsigned left,
                                      bool vectors) {
  if (vectors && left >= 8) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
  } else {
    for (unsigned j = 0; j < 8 && j < left; ++j) to[j] = from[j];
  }
}

}  // namespace

extern "C" __global__ void plain_kv_append(const uint16_t* __restrict__ k,
                                           const uint16_t* __restrict__ v, uint16_t* k_cache,
                                           uint16_t* v_cache, const int* __restrict__ pos,
                                           const GpuKvAppend p) {
  const unsigned piece = blockIdx.x * blockDim.x + threadIdx.x;
  if (piece >= p.pieces) return;
  const unsigned at = piece % p.row_pieces * 8, row = piece / p.row_pieces;
  const unsigned head = row % p.num_kv_heads, token = row / p.num_kv_heads % p.n;
  const unsigned b = row / p.num_kv_heads / p.n;
  const int64_t position = int64_t{pos[b]} + p.pos_skip + token;
  if (position < 0) return;
  const unsigned whole = static_cast<unsigned>(position);
  const unsigned slot = p.ring != 0 ? whole % p.capacity : whole;
  if (slot >= p.capacity) return;
  const uint64_t from =
      ((uint64_t{b} * p.n_src + p.src_offset + token) * p.num_kv_heads + head) * p.dim + at;
  const uint64_t slots = p.token_major != 0
                             ? (uint64_t{b} * p.capacity + slot) * p.num_kv_heads + head
                             : (uint64_t{b} * p.num_kv_heads + head) * p.capacity + slot;
  const uint64_t to = slots * p.dim + at;
  move8(k + from, k_cache + to, p.dim - at, p.vectors != 0);
  if (p.has_v != 0) move8(v + from, v_cache + to, p.dim - at, p.vectors != 0);
}
