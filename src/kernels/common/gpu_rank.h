// SPDX-License-Identifier: Apache-2.0
// Floats as integers in the rank order of the library (rank_key.h): larger values first, equal
// values by lower index, NaN last.
#pragma once
#include "kernels/common/gpu_rows.h"

GPU_LIBRARY_BEGIN

// Order-preserving image of a float; NaN is 0, the least; both zeros are equal.
GPU_FN uint rank_bits(float value) {
  if (isnan(value)) return 0;
  const uint bits = as_uint(value + 0.0f);  // -0 + 0 = +0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// A float with this image.
GPU_FN float rank_value(uint rank) {
  if (rank == 0) return NAN;
  return as_float((rank & 0x80000000u) != 0 ? rank ^ 0x80000000u : ~rank);
}

// The highest of (rank, index) over a simdgroup: highest rank, then lowest index. Every lane gets
// it.
GPU_FN void simd_best(THREAD uint* rank, THREAD uint* index) {
  const uint best = simd_max(*rank);
  *index = simd_min(*rank == best ? *index : 0xffffffffu);
  *rank = best;
}

// The same over a threadgroup. `ranks` and `indices` are SHARED(uint, .., 32).
GPU_FN void group_best(THREAD uint* rank, THREAD uint* index, THREADGROUP uint* ranks,
                       THREADGROUP uint* indices, uint lane, uint simd, uint simds) {
  simd_best(rank, index);
  if (simds == 1) return;
  if (lane == 0) {
    ranks[simd] = *rank;
    indices[simd] = *index;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  *rank = ranks[min(lane, simds - 1)];
  *index = indices[min(lane, simds - 1)];
  simd_best(rank, index);
}

GPU_LIBRARY_END
