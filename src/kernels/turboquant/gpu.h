// SPDX-License-Identifier: Apache-2.0
// fwht: a threadgroup per row. tq_encode and tq_decode: a simdgroup per row, in registers.
//   x, out [rows, dim]   src [batch, n_src, heads, dim]   pos [batch]   block_table [batch, pages]
//   codes [batch, heads, capacity, row_bytes]   norms [batch, heads, capacity, norm_count]; of a
//   paged cache [pages, heads, size, ..]
#include "kernels/common/gpu_tq.h"
#include "kernels/turboquant/gpu_args.h"

KERNELS_BEGIN(turboquant)

KERNEL(fwht, SHADOW(float, x), OUT(float, out), PARAMS(GpuFwht, p), TGBUF(float, row)) {
  await_inputs();
  const ulong at = ulong(GROUP_ID.x) * p.dim;
  for (uint i = THREAD_ID; i < p.dim; i += GROUP_SIZE) {
    const bool negate = p.before != 0 && (p.signs[i / 32] >> (i % 32) & 1) != 0;
    row[i] = negate ? -x[at + i] : x[at + i];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint h = 1; h < p.dim; h *= 2) {
    for (uint pair = THREAD_ID; pair < p.dim; pair += GROUP_SIZE) {
      const uint i = (pair / h * 2 * h) + pair % h;
      // The block of i has the size of the highest bit in which i and dim differ.
      if (i < p.dim && (i ^ p.dim) >= 2 * h) {
        const float a = row[i], b = row[i + h];
        row[i] = a + b;
        row[i + h] = a - b;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  for (uint i = THREAD_ID; i < p.dim; i += GROUP_SIZE) {
    uint size = 1;
    while (2 * size <= (i ^ p.dim)) size *= 2;
    const float v = row[i] * (1.0f / sqrt(float(size)));
    const bool negate = p.after != 0 && (p.signs[i / 32] >> (i % 32) & 1) != 0;
    out[at + i] = negate ? -v : v;
  }
}

KERNEL(tq_encode, IN(uchar, src), OUT(uchar, codes), OUT(float, norms), IN(int, pos),
       IN(int, block_table), PARAMS(GpuTqEncode, p)) {
  await_inputs();
  SHARED(float, bounds, 256);
  SHARED(float, levels, 256);
  const bool corrects = p.norm_correction != 0;
  for (uint i = THREAD_ID; i < 1u << p.coder.bits; i += GROUP_SIZE) bounds[i] = p.coder.bounds[i];
  for (uint i = THREAD_ID; corrects && i < 256; i += GROUP_SIZE) levels[i] = p.levels[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint row = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (row >= p.rows) return;
  const uint head = row % p.num_kv_heads, token = row / p.num_kv_heads % p.n;
  const uint b = row / p.num_kv_heads / p.n, dim = p.coder.dim;
  const CacheSlot found = find_place(block_table, p.pages, b, long(pos[b]) + p.pos_skip + token,
                                     p.ring != 0, p.capacity);
  if (!found.held) return;

  float v[kRowElements];
  const ulong from = (ulong(b) * p.n_src + p.src_offset + token) * p.num_kv_heads + head;
  load_query<32>(src, from * dim, p.src_type, dim, LANE, p.vectors != 0, v);
  const uint slots = p.pages.size > 0 ? p.pages.size : p.capacity;  // of a sequence or a page
  const ulong to = (ulong(found.block) * p.num_kv_heads + head) * slots + found.slot;
  encode_elements(v, p.coder, bounds, levels, corrects, codes + to * p.coder.row_bytes,
                  norms + to * p.coder.norm_count, LANE);
}

KERNEL(tq_decode, IN(uchar, codes), IN(float, norms), OUT(float, out), PARAMS(GpuTqDecode, p)) {
  await_inputs();
  SHARED(float, levels, 256);
  stage_levels(p.table, levels, THREAD_ID, GROUP_SIZE);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint row = GROUP_ID.x * NUM_SIMDS + SIMD_ID, dim = p.table.dim;
  if (row >= p.rows) return;
  const ulong from = ulong(row / p.n) * p.capacity + p.first_slot + row % p.n;
  float v[kRowElements];
  load_levels<32>(codes + from * p.table.row_bytes, p.table, dim, LANE, levels, v);
  const float2 factors = norm_factors(norms + from * p.table.norm_count, p.table, true);
  UNROLL for (int i = 0; i < kRowElements; i++) v[i] = v[i] * (i < 8 ? factors.x : factors.y);
  if (p.rotate_back != 0) rotate_elements_back<32>(v, p.table, LANE);
  UNROLL for (int run = 0; run < 2; run++) {
    const uint at = 8 * (run * 32 + LANE);
    if (at < dim) store_row<8>(out + ulong(row) * dim + at, 8, p.vectors != 0, v + 8 * run);
  }
}

EXPORT(fwht)
EXPORT(tq_encode)
EXPORT(tq_decode)

KERNELS_END
