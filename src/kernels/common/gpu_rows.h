// SPDX-License-Identifier: Apache-2.0
// What most kernels need on top of the dialect: rows of any length and alignment, and reductions
// over a threadgroup.
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

// Elements [0, V) of p as floats; those from `left` on read as 0 and are not touched. `vectors`
// says that p is aligned to 16 bytes whenever V elements are left. The values do not depend on it.
template <int V, typename T>
GPU_FN void load_row(DEVICE const T* p, uint left, bool vectors, THREAD float* v) {
  if (vectors && left >= uint(V)) {
    load_vec<V>(p, v);
  } else {
    UNROLL for (int j = 0; j < V; j++) v[j] = uint(j) < left ? float(p[j]) : 0.0f;
  }
}
template <int V, typename T>
GPU_FN void store_row(DEVICE T* p, uint left, bool vectors, THREAD const float* v) {
  if (vectors && left >= uint(V)) {
    store_vec<V>(p, v);
  } else {
    UNROLL for (int j = 0; j < V; j++) {
      if (uint(j) < left) p[j] = T(v[j]);
    }
  }
}

// Elements at .. at + V - 1 of a row of `length`. `vectors` says that every row is aligned to 16
// bytes; it is known when the kernel is compiled, so that no branch stands between the loads of
// several parts and all are under way at once. A part behind the row may be loaded, and means
// nothing; it is not stored.
template <int V, typename T>
GPU_FN void load_part(DEVICE const T* row, uint at, uint length, bool vectors, THREAD float* v) {
  if (vectors) {
    load_vec<V>(row + min(at, length - uint(V)), v);
  } else {
    load_row<V>(row + at, at < length ? length - at : 0, false, v);
  }
}
template <int V, typename T>
GPU_FN void store_part(DEVICE T* row, uint at, uint length, bool vectors, THREAD const float* v) {
  if (vectors) {
    store_vec<V>(row + at, v);
  } else {
    store_row<V>(row + at, length - at, false, v);
  }
}

// Whether element j of that part is one of the row.
GPU_FN bool in_row(uint at, int j, uint length, bool vectors) {
  return vectors ? at < length : at + j < length;
}

// IN_GROUP is the calling thread's place, for the functions below.
#define IN_GROUP LANE, SIMD_ID, NUM_SIMDS

// The sum, or maximum, over the threadgroup, given to every thread. `partial` is SHARED(T, partial,
// 32); it may be used again after the next threadgroup barrier. The order of additions depends on
// the group's size only.
template <typename T>
GPU_FN T group_sum(T v, THREADGROUP T* partial, uint lane, uint simd, uint simds) {
  v = simd_sum(v);
  if (simds == 1) return v;
  if (lane == 0) partial[simd] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_sum(lane < simds ? partial[lane] : T(0));
}
template <typename T>
GPU_FN T group_max(T v, THREADGROUP T* partial, uint lane, uint simd, uint simds) {
  v = simd_max(v);
  if (simds == 1) return v;
  if (lane == 0) partial[simd] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_max(partial[min(lane, simds - 1)]);
}

GPU_LIBRARY_END
