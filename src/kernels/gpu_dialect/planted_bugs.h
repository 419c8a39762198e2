// SPDX-License-Identifier: Apache-2.0
// Kernels with one deliberate bug each, and correct ones that look alike. All of them compile
// everywhere; the emulator must find the bugs and stay silent about the rest. 128 threads a group.
#include "kernels/common/gpu_rows.h"
#include "kernels/gpu_dialect/gpu_args.h"

KERNELS_BEGIN(planted_bugs)

// ---- bounds ----
KERNEL(bug_write_past_end, IN(float, x), OUT(float, y), PARAMS(GpuCount, p)) {  // no i < p.count
  const uint i = GROUP_ID.x * GROUP_SIZE + THREAD_ID;
  y[i] = 2.0f * x[min(i, p.count - 1)];
}
KERNEL(bug_read_before_begin, IN(float, x), OUT(float, y)) { y[THREAD_ID] = x[int(THREAD_ID) - 1]; }
KERNEL(bug_shared_past_end, IN(float, x), OUT(float, y)) {
  SHARED(float, s, 128);
  SHARED(float, neighbour, 128);
  neighbour[THREAD_ID] = 0.0f;
  s[THREAD_ID + 1] = x[THREAD_ID];
  y[THREAD_ID] = 0.0f;
}
KERNEL(bug_absent_operand, IN(float, x), OUT(float, y)) {  // x is not bound
  y[THREAD_ID] = x[THREAD_ID];
}
KERNEL(bug_write_to_input, IN(float, x), OUT(float, y)) {
  ((DEVICE float*)x)[THREAD_ID] = 1.0f;
  y[THREAD_ID] = 1.0f;
}

// ---- alignment ----
KERNEL(bug_misaligned, IN(half, x), OUT(float, y)) {  // one vector load at an odd element
  const uint at = 4 * THREAD_ID + (THREAD_ID == 5 ? 1 : 0);
  store4(y + 4 * THREAD_ID, load4(x + at));
}

// ---- races ----
KERNEL(bug_no_barrier, IN(float, x), OUT(float, y)) {  // between initialising s and reading it
  SHARED(float, s, 128);
  s[THREAD_ID] = 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  s[THREAD_ID] = x[THREAD_ID];
  y[THREAD_ID] = s[127 - THREAD_ID];
}
KERNEL(bug_wrong_flags, IN(float, x), OUT(float, y)) {  // the barrier orders device memory only
  SHARED(float, s, 128);
  s[THREAD_ID] = 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  s[THREAD_ID] = x[THREAD_ID];
  threadgroup_barrier(mem_flags::mem_device);
  y[THREAD_ID] = s[127 - THREAD_ID];
}
KERNEL(bug_reuse, IN(float, x), OUT(float, y)) {  // s is overwritten while others still read it
  SHARED(float, s, 128);
  float sum = 0.0f;
  for (uint round = 0; round < 2; round++) {
    s[THREAD_ID] = x[THREAD_ID] + float(round);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum = sum + s[127 - THREAD_ID];
  }
  y[THREAD_ID] = sum;
}
KERNEL(bug_simd_share, IN(float, x), OUT(float, y)) {  // the neighbour is in another simdgroup
  SHARED(float, s, 128);
  s[THREAD_ID] = 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  s[THREAD_ID] = x[THREAD_ID];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  y[THREAD_ID] = s[THREAD_ID ^ 32];
}
KERNEL(bug_groups_collide, IN(float, x), OUT(float, y)) {  // every threadgroup writes the same
  y[THREAD_ID] = x[THREAD_ID];
}
KERNEL(bug_in_place, SHADOW(float, x), OUT(float, y)) {  // y is x: another thread's element is read
  y[THREAD_ID] = x[127 - THREAD_ID];
}

// ---- uninitialised threadgroup memory ----
KERNEL(bug_uninitialised, IN(float, x), OUT(float, y)) {  // s[127] is never written
  SHARED(float, s, 128);
  if (THREAD_ID < 127) s[THREAD_ID] = x[THREAD_ID];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[THREAD_ID] = s[127 - THREAD_ID];
}
KERNEL(bug_accumulate, IN(float, x), OUT(float, y)) {  // reads s by += before anything wrote it
  SHARED(float, s, 128);
  s[THREAD_ID] += x[THREAD_ID];
  y[THREAD_ID] = s[THREAD_ID];
}

// ---- barriers ----
KERNEL(bug_early_return, IN(float, x), OUT(float, y)) {  // only 96 threads reach the barrier
  y[THREAD_ID] = x[THREAD_ID];
  if (THREAD_ID >= 96) return;
  threadgroup_barrier(mem_flags::mem_device);
}
KERNEL(bug_two_barriers, IN(float, x), OUT(float, y)) {  // two simdgroups at one, two at another
  y[THREAD_ID] = x[THREAD_ID];
  if (SIMD_ID < 2) {
    threadgroup_barrier(mem_flags::mem_device);
  } else {
    threadgroup_barrier(mem_flags::mem_device);
  }
}

// ---- simdgroup operations ----
KERNEL(bug_half_simd, IN(float, x), OUT(float, y)) {  // under a condition on the lane
  float v = x[THREAD_ID];
  if (LANE < 16) v = simd_sum(v);
  y[THREAD_ID] = v;
}
KERNEL(bug_two_operations, IN(float, x), OUT(float, y)) {  // half the lanes at each of two
  float v = x[THREAD_ID];
  if (LANE < 16) {
    v = simd_max(v);
  } else {
    v = simd_min(v);
  }
  y[THREAD_ID] = v;
}

// ---- matrices of a simdgroup: their accesses are no lane's own ----
typedef simdgroup_matrix<float, 8, 8> Matrix;

KERNEL(bug_matrix_load, IN(float, x), OUT(float, y)) {  // no barrier behind the write to s
  SHARED(float, s, 256);
  Matrix m;
  s[64 * SIMD_ID + LANE] = s[64 * SIMD_ID + 32 + LANE] = x[THREAD_ID];
  simdgroup_load(m, s + 64 * SIMD_ID);
  simdgroup_store(m, y + 64 * SIMD_ID);
}
KERNEL(bug_matrix_store, IN(float, x), OUT(float, y)) {  // no barrier in front of the read of y
  Matrix m;
  simdgroup_load(m, x);
  simdgroup_store(m, y + 64 * SIMD_ID);
  y[256 + THREAD_ID] = y[64 * SIMD_ID + LANE];
}
KERNEL(bug_matrix_past_end, IN(float, x), OUT(float, y)) {  // by one element
  Matrix m;
  simdgroup_load(m, x + 449);
  simdgroup_store(m, y + 64 * SIMD_ID);
}
KERNEL(bug_matrix_half_simd, IN(float, x), OUT(float, y)) {  // a product under a condition
  Matrix m;
  simdgroup_load(m, x);
  if (LANE < 16) simdgroup_multiply_accumulate(m, m, m, m);
  simdgroup_store(m, y + 64 * SIMD_ID);
}
KERNEL(bug_matrix_lanes_differ, IN(float, x), OUT(float, y)) {  // every lane loads another one
  Matrix m;
  simdgroup_load(m, x + LANE);
  simdgroup_store(m, y + 64 * SIMD_ID);
}
EXPORT(bug_matrix_load)
EXPORT(bug_matrix_store)
EXPORT(bug_matrix_past_end)
EXPORT(bug_matrix_half_simd)
EXPORT(bug_matrix_lanes_differ)

// ---- correct ----
KERNEL(fine_simd_share, IN(float, x), OUT(float, y)) {  // a simdgroup shares without the group
  SHARED(float, s, 128);
  s[THREAD_ID] = x[THREAD_ID];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  y[THREAD_ID] = s[THREAD_ID ^ 31];
}
KERNEL(fine_block_copy, IN(float, x), OUT(float, y)) {  // loops that become memset and memcpy
  SHARED(float, s, 64 * 64);
  if (THREAD_ID < 64) {
    for (uint j = 0; j < 64; j++) s[64 * THREAD_ID + j] = 0.0f;
    for (uint j = 0; j < 4; j++) s[64 * THREAD_ID + j] = x[THREAD_ID];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[THREAD_ID] = s[64 * (THREAD_ID / 2) + 63];
}
KERNEL(fine_in_place, SHADOW(float, x), OUT(float, y)) { y[THREAD_ID] = 2.0f * x[THREAD_ID]; }
KERNEL(fine_shared_read, IN(float, x), OUT(float, y)) {  // all read what one wrote
  SHARED(float, s, 1);
  if (THREAD_ID == 77) s[0] = x[0];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[THREAD_ID] = s[0];
}

EXPORT(bug_write_past_end)
EXPORT(bug_read_before_begin)
EXPORT(bug_shared_past_end)
EXPORT(bug_absent_operand)
EXPORT(bug_write_to_input)
EXPORT(bug_misaligned)
EXPORT(bug_no_barrier)
EXPORT(bug_wrong_flags)
EXPORT(bug_reuse)
EXPORT(bug_simd_share)
EXPORT(bug_groups_collide)
EXPORT(bug_in_place)
EXPORT(bug_uninitialised)
EXPORT(bug_accumulate)
EXPORT(bug_early_return)
EXPORT(bug_two_barriers)
EXPORT(bug_half_simd)
EXPORT(bug_two_operations)
EXPORT(fine_simd_share)
EXPORT(fine_block_copy)
EXPORT(fine_in_place)
EXPORT(fine_shared_read)

KERNELS_END
