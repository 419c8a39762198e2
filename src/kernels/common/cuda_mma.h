// SPDX-License-Identifier: Apache-2.0
// Matrix units of sm_80 and later, and what feeds them. Of a multiplication
//   c[16 x 8] += a[16 x K] b[K x 8]
// lane 4g + t holds rows g and g + 8 of a, column g of b, rows g and g + 8 and columns 2t and
// 2t + 1 of c:
//   c[0], c[1]: row g; c[2], c[3]: row g + 8
//   16-bit elements, K = 16: a0, a2: row g; a1, a3: row g + 8; a0, b0: k = 2t, 2t + 1;
//                            a2, b1: k = 2t + 8, 2t + 9
//   bytes, K = 32: the same with k = 4t .. 4t + 3, and 16 more
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

GPU_FN void mma_bf16(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
GPU_FN void mma_f16(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
GPU_FN void mma_s8(int* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

GPU_FN uint shared_address(const void* p) { return static_cast<uint>(__cvta_generic_to_shared(p)); }

// Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
// Of each a lane gets row g, columns 2t and 2t + 1, or with load_transposed rows 2t and 2t + 1 of
// column g.
GPU_FN void load_matrices(uint address, uint* a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}
GPU_FN void load_transposed(uint address, uint* a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}
// An 8 x 8 matrix of 16-bit elements in the registers of a simdgroup, transposed.
GPU_FN uint transpose(uint pair) {
  uint result;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

// 16 bytes into threadgroup memory, of zeros if they are not there, without waiting. What a thread
// has started since the last close_copies() is one group; wait_copies<n> waits for all groups but
// the last n. Other lanes see the bytes after a barrier.
GPU_FN void copy_ahead(uint to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
GPU_FN void copy_ahead(uint to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// 4 bytes likewise.
GPU_FN void copy_word_ahead(uint to, const void* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(there ? 4 : 0)
               : "memory");
}
// Likewise of a run that is copied to its end, of which L2 asks memory for 256 bytes at once.
GPU_FN void copy_run_ahead(uint to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(to), "l"(from)
               : "memory");
}
GPU_FN void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLater>
GPU_FN void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLater) : "memory");
}

// 2^x within 2 units of the last place; results below the normal range are 0.
GPU_FN float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
GPU_FN float fast_log2(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

GPU_LIBRARY_END
