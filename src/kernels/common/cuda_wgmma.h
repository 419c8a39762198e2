// SPDX-License-Identifier: Apache-2.0
// Matrix units of sm_90a that four simdgroups side by side, a warpgroup, feed together:
//   d[64 x 8 kTiles] += a[64 x 16] b[16 x 8 kTiles]
// Simdgroup w of the four has rows 16w to 16w + 15 of a and d; a lane has of them, and of each
// eight columns of d, what it has of an mma of 16 rows and 8 columns (cuda_mma.h). Results have the
// same bits as those of mma.sync. b is read from threadgroup memory while the simdgroups go on:
//   open_products();   the registers of a and d are as they are to be
//   multiply ...
//   close_products();
//   wait_products<n>(d);   all but the last n that were closed are done: d may be read, a changed
#pragma once
#include "kernels/common/cuda_mma.h"

GPU_LIBRARY_BEGIN

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MLXN_WARPGROUPS 1
#else
#define MLXN_WARPGROUPS 0
#endif

#if MLXN_WARPGROUPS

// Operand b in threadgroup memory: matrices of 8 columns by 8 elements of K, 16 bytes a column,
// side by side (K) `next_k` bytes apart and one below the other (columns) `next_columns`. Addresses
// and distances are multiples of 16.
GPU_FN ulong b_operand(uint address, uint next_k, uint next_columns) {
  return ulong((address & 0x3ffff) >> 4) | ulong(next_k >> 4) << 16 |
         ulong(next_columns >> 4) << 32;
}

GPU_FN void open_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GPU_FN void close_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// d: of what is waited for; it is not read before.
template <int kLater, int kTiles>
GPU_FN void wait_products(float (&d)[kTiles][4]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLater) : "memory");
  UNROLL for (int i = 0; i < kTiles; i++) {
    UNROLL for (int k = 0; k < 4; k++) asm volatile("" : "+f"(d[i][k])::"memory");
  }
}

// Behind the wait for products that read this register of a: until then nothing else may be in it,
// which the compiler does not know.
GPU_FN void hold(uint a) { asm volatile("" ::"r"(a) : "memory"); }

#define MLXN_D_4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define MLXN_D_8(i) MLXN_D_4(i), MLXN_D_4(i + 1)
#define MLXN_D_16(i) MLXN_D_8(i), MLXN_D_8(i + 2)
#define MLXN_D_32(i) MLXN_D_16(i), MLXN_D_16(i + 4)
#define MLXN_D_64(i) MLXN_D_32(i), MLXN_D_32(i + 8)
#define MLXN_R_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define MLXN_R_16 MLXN_R_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define MLXN_R_32 MLXN_R_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define MLXN_R_64                                                                        \
  MLXN_R_32                                                                              \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52" \
  ",%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// Operands behind d: a0 to a3, b, and whether d is added to.
#define MLXN_WGMMA(columns, type, outs, registers, a_0, a_1, a_2, a_3, b, adds)               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" adds                                      \
               ", 0;\n"                                                                       \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" outs \
               "}, {%" a_0 ",%" a_1 ",%" a_2 ",%" a_3 "}, %" b ", p, 1, 1, 0;\n}"             \
               : registers                                                                    \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_at), "n"(kAdds ? 1 : 0))

// kAdds: d is added to, else written. a: a0 to a3 as in cuda_mma.h. d[i]: columns of tile i.
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[16][4], const uint (&a)[4], ulong b_at, bfloat) {
  MLXN_WGMMA("128", "bf16", MLXN_R_64, MLXN_D_64(0), "64", "65", "66", "67", "68", "69");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[8][4], const uint (&a)[4], ulong b_at, bfloat) {
  MLXN_WGMMA("64", "bf16", MLXN_R_32, MLXN_D_32(0), "32", "33", "34", "35", "36", "37");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[4][4], const uint (&a)[4], ulong b_at, bfloat) {
  MLXN_WGMMA("32", "bf16", MLXN_R_16, MLXN_D_16(0), "16", "17", "18", "19", "20", "21");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[2][4], const uint (&a)[4], ulong b_at, bfloat) {
  MLXN_WGMMA("16", "bf16", MLXN_R_8, MLXN_D_8(0), "8", "9", "10", "11", "12", "13");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[16][4], const uint (&a)[4], ulong b_at, half) {
  MLXN_WGMMA("128", "f16", MLXN_R_64, MLXN_D_64(0), "64", "65", "66", "67", "68", "69");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[8][4], const uint (&a)[4], ulong b_at, half) {
  MLXN_WGMMA("64", "f16", MLXN_R_32, MLXN_D_32(0), "32", "33", "34", "35", "36", "37");
}
template <bool kAdds>
GPU_FN void multiply_together(float (&d)[4][4], const uint (&a)[4], ulong b_at, half) {
  MLXN_WGMMA("32", "f16", MLXN_R_16, MLXN_D_16(0), "16", "17", "18", "19", "20", "21");
}

#endif

GPU_LIBRARY_END
