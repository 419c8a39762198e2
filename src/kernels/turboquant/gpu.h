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

// A value per run; with one norm for the row both get the value of the row.
GPU_FN float2 joined(float2 per_run, bool one_norm) {
  const float sum = per_run.x + per_run.y;
  return one_norm ? make_float2(sum, sum) : per_run;
}

// The root of the sum of squares of each run over the lanes. Squares of large values would
// overflow.
GPU_FN float2 roots_of_squares(THREAD const float* v, bool one_norm) {
  float largest = 0.0f;
  UNROLL for (int i = 0; i < kRowElements; i++) largest = max(largest, fabs(v[i]));
  const float shrink = simd_max(largest) > 1.15292150e18f ? 5.42101086e-20f : 1.0f;  // 2^60, 2^-64
  float2 sums = make_float2(0.0f, 0.0f);
  UNROLL for (int j = 0; j < 8; j++) {
    sums.x = fma(v[j] * shrink, v[j] * shrink, sums.x);
    sums.y = fma(v[j + 8] * shrink, v[j + 8] * shrink, sums.y);
  }
  sums = joined(make_float2(simd_sum(sums.x), simd_sum(sums.y)), one_norm);
  return make_float2(sqrt(sums.x) / shrink, sqrt(sums.y) / shrink);
}

KERNEL(tq_encode, IN(uchar, src), OUT(uchar, codes), OUT(float, norms), IN(int, pos),
       IN(int, block_table), PARAMS(GpuTqEncode, p)) {
  await_inputs();
  SHARED(float, bounds, 256);
  SHARED(float, levels, 256);
  for (uint i = THREAD_ID; i < 256; i += GROUP_SIZE) bounds[i] = p.bounds[i];
  stage_levels(p.table, levels, THREAD_ID, GROUP_SIZE);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint row = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (row >= p.rows) return;
  const uint head = row % p.num_kv_heads, token = row / p.num_kv_heads % p.n;
  const uint b = row / p.num_kv_heads / p.n, dim = p.table.dim;
  // A position that came from a device buffer has not been checked.
  const long position = long(pos[b]) + p.pos_skip + token;
  if (position < 0 || (p.ring == 0 && position >= long(p.capacity))) return;
  const CacheSlot found =
      find_slot(block_table, p.pages, b, uint(ulong(position) % p.capacity), true);
  if (!found.held) return;

  float v[kRowElements];
  const ulong from = (ulong(b) * p.n_src + p.src_offset + token) * p.num_kv_heads + head;
  load_query<32>(src, from * dim, p.src_type, dim, LANE, p.vectors != 0, v);
  rotate_elements<32>(v, p.table, LANE);
  UNROLL for (int i = 0; i < kRowElements; i++) {
    if (8 * (i / 8 * 32 + LANE) >= dim) v[i] = 0.0f;
  }
  const uint slots = p.pages.size > 0 ? p.pages.size : p.capacity;  // of a sequence or a page
  const ulong to = (ulong(found.block) * p.num_kv_heads + head) * slots + found.slot;
  const bool one_norm = p.table.norm_count == 1;
  const float2 roots = roots_of_squares(v, one_norm);
  float norms_of[2] = {roots.x, roots.y};
  float2 with_itself = make_float2(0.0f, 0.0f), with_level = make_float2(0.0f, 0.0f);
  UNROLL for (int run = 0; run < 2; run++) {
    float factor = sqrt(float(dim)) / norms_of[run];
    if (!one_norm) {
      norms_of[run] = norms_of[run] / 16.0f;  // root mean square of 256
      factor = p.table.scale_factor / norms_of[run];
    }
    if (norms_of[run] <= 1e-10f) factor = 0.0f;
    const uint group = run * 32 + LANE, middle = 1u << (p.bits - 1);
    ulong word = 0;
    float z_z = 0.0f, z_level = 0.0f;
    UNROLL for (int j = 0; j < 8; j++) {
      const float z = v[8 * run + j] * factor;
      uint index = 0;  // bounds below z
      for (uint step = middle; step > 0; step /= 2) {
        if (bounds[index + step - 1] < z) index += step;
      }
      if (p.sign_magnitude != 0) {
        index = index >= middle ? index - middle : 2 * middle - 1 - index;
      }
      word |= ulong(index) << (j * p.table.code_bits);
      z_z = fma(z, z, z_z);
      z_level = fma(z, levels[index], z_level);
    }
    if (run == 0) {
      with_itself.x = simd_sum(z_z);
      with_level.x = simd_sum(z_level);
    } else {
      with_itself.y = simd_sum(z_z);
      with_level.y = simd_sum(z_level);
    }
    if (8 * group < dim) {
      DEVICE uchar* out = codes + to * p.table.row_bytes + group * p.table.code_bits;
      for (uint i = 0; i < p.table.code_bits; i++) out[i] = uchar(word >> (8 * i) & 255);
    }
  }
  with_itself = joined(with_itself, one_norm);
  with_level = joined(with_level, one_norm);
  if (p.norm_correction != 0) {
    if (with_level.x > 0.0f) norms_of[0] = norms_of[0] * (with_itself.x / with_level.x);
    if (with_level.y > 0.0f) norms_of[1] = norms_of[1] * (with_itself.y / with_level.y);
  }
  if (LANE == 0) norms[to * p.table.norm_count] = norms_of[0];
  if (LANE == 0 && !one_norm) norms[to * 2 + 1] = norms_of[1];
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
