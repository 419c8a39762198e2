// SPDX-License-Identifier: Apache-2.0
// One kernel per part of the dialect, so that every backend can show that it means the same by it.
#include "kernels/common/gpu_rows.h"
#include "kernels/gpu_dialect/gpu_args.h"

SPEC_BOOL(0, dialect_negate)
SPEC_BOOL(1, dialect_twice)

KERNELS_BEGIN(dialect)

// y[i] = x[i], doubled and negated as the launch's constants say.
template <typename T SPEC_TPARAM>
KERNEL(dialect_spec, IN(T, x), OUT(T, y), PARAMS(GpuCount, p)) {
  await_inputs();
  const uint i = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  if (i >= p.count) return;
  float v = float(x[i]);
  if (SPEC(dialect_negate)) v = -v;
  if (SPEC(dialect_twice)) v = 2.0f * v;
  y[i] = T(v);
}
INSTANTIATE_SPEC(dialect_spec_f32, dialect_spec, 2, float)
INSTANTIATE_SPEC(dialect_spec_f16, dialect_spec, 2, half)

// Every simdgroup operation on one value a lane; y[op][lane].
KERNEL(dialect_simd, IN(float, x), OUT(float, y)) {
  await_inputs();
  const float v = x[LANE];
  const uint n = uint(v);
  y[0 * 32 + LANE] = simd_sum(v);
  y[1 * 32 + LANE] = simd_max(v);
  y[2 * 32 + LANE] = simd_min(v);
  y[3 * 32 + LANE] = simd_shuffle(v, (LANE * 5 + 3) & 31);
  y[4 * 32 + LANE] = simd_shuffle_xor(v, 9);
  const float below = simd_shuffle_down(v, 3);
  y[5 * 32 + LANE] = LANE < 29 ? below : 0.0f;
  y[6 * 32 + LANE] = simd_broadcast(v, 17);
  y[7 * 32 + LANE] = simd_prefix_exclusive_sum(v);
  y[8 * 32 + LANE] = float(simd_sum(n));
  y[9 * 32 + LANE] = float(simd_max(n));
  const float4 q = simd_sum(make_float4(v, 2.0f * v, -v, 1.0f));
  y[10 * 32 + LANE] = q.x + q.y + q.z + q.w;
}
EXPORT(dialect_simd)

// Row reversal through threadgroup memory whose size the launch gives, with group reductions
// beside.
//   x, y [groups][GROUP_SIZE]   sums [groups][2]: sum and maximum of the row
KERNEL(dialect_group, IN(float, x), OUT(float, y), OUT(float, sums), TGBUF(float, row)) {
  await_inputs();
  SHARED(float, partial_sum, 32);
  SHARED(float, partial_max, 32);
  const uint base = GROUP_ID.x * GROUP_SIZE;
  const float v = x[base + THREAD_ID];
  row[THREAD_ID] = v;
  const float sum = group_sum(v, partial_sum, IN_GROUP);
  const float largest = group_max(v, partial_max, IN_GROUP);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[base + THREAD_ID] = row[GROUP_SIZE - 1 - THREAD_ID];
  if (THREAD_ID == 0) {
    sums[2 * GROUP_ID.x] = sum;
    sums[2 * GROUP_ID.x + 1] = largest;
  }
}
EXPORT(dialect_group)

// Widening and rounding, by vectors and one by one: y = T(float(x)).
template <typename From, typename To>
KERNEL(dialect_convert, IN(From, x), OUT(To, y), PARAMS(GpuCount, p)) {
  await_inputs();
  const uint at = 8 * (GROUP_ID.x * GROUP_SIZE + THREAD_ID);
  if (at >= p.count) return;
  float v[8];
  load_row<8>(x + at, p.count - at, true, v);
  store_row<8>(y + at, p.count - at, true, v);
}
INSTANTIATE(dialect_convert_f32_f16, dialect_convert, float, half)
INSTANTIATE(dialect_convert_f32_bf16, dialect_convert, float, bfloat)
INSTANTIATE(dialect_convert_f16_f32, dialect_convert, half, float)
INSTANTIATE(dialect_convert_bf16_f32, dialect_convert, bfloat, float)

// A two-dimensional grid: y[group.y][group.x] = 100 group.y + group.x.
KERNEL(dialect_grid, OUT(float, y), PARAMS(GpuCount, p)) {
  await_inputs();
  if (THREAD_ID == 0) y[GROUP_ID.y * p.count + GROUP_ID.x] = float(100 * GROUP_ID.y + GROUP_ID.x);
}
EXPORT(dialect_grid)

// a * b + c rounds twice; fma rounds once.
KERNEL(dialect_contract, IN(float, abc), OUT(float, y)) {
  await_inputs();
  if (THREAD_ID > 0) return;
  y[0] = abc[0] * abc[1] + abc[2];
  y[1] = fma(abc[0], abc[1], abc[2]);
  y[2] = as_float(as_uint(abc[0]) ^ 0x80000000u);
  y[3] = 1.0f / sqrt(abc[2]);
}
EXPORT(dialect_contract)

#ifndef __CUDACC__
// Matrices: the transpose of A (A B^T + 1) + 1.   x [8][16]: A beside B   y [8][8]
template <typename T>
KERNEL(dialect_matrix, IN(T, x), OUT(float, y)) {
  await_inputs();
  SHARED(float, s, 64);
  simdgroup_matrix<T, 8, 8> left, right;
  simdgroup_matrix<float, 8, 8> sum, ones = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_load(left, x, 16);
  simdgroup_load(right, x + 8, 16, 0, true);
  simdgroup_multiply_accumulate(sum, left, right, ones);
  simdgroup_multiply_accumulate(sum, left, sum, ones);
  simdgroup_store(sum, s);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_load(sum, s, 8, 0, true);
  simdgroup_store(sum, y);
}
INSTANTIATE(dialect_matrix_f32, dialect_matrix, float)
INSTANTIATE(dialect_matrix_f16, dialect_matrix, half)
INSTANTIATE(dialect_matrix_bf16, dialect_matrix, bfloat)
#endif

KERNELS_END
