// SPDX-License-Identifier: Apache-2.0
// Matrix units of sm_80 and later, and activations as two bf16 terms.
#pragma once
#include <cstdint>

#include "kernels/common/gpu.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_copy.h"

namespace mlxn {
namespace gpu {

// c[16 x 8] += a[16 x 16] b[16 x 8]. Lane 4g + t holds of a rows g and g + 8, of b and c column g
// and columns 2t, 2t + 1:
//   a0, a2: row g; a1, a3: row g + 8; a0, b0: k = 2t, 2t + 1; a2, b1: k = 2t + 8, 2t + 9
//   c[0], c[1]: row g; c[2], c[3]: row g + 8
GPU_FN void mma_bf16(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Two floats cut to bf16, `low` in the low half.
GPU_FN uint cut_bf16(float low, float high) {
  uint pair;
  asm("cvt.rz.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// a - b of two bf16 each.
GPU_FN uint sub_bf16(uint a, uint b) {
  const __nv_bfloat162 d = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&a),
                                   *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint*>(&d);
}
GPU_FN uint mul_bf16(uint a, uint b) {
  const __nv_bfloat162 d = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&a),
                                   *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint*>(&d);
}

// The eight activations that a lane has of a block of 32, as operand b of two multiplications: a
// bf16 term and the rest of it, 16 bits in all (exact for f16; the rest of bf16 is zero).
struct Terms {
  uint high[4], low[4];
};

// Element order[2i], order[2i + 1] of v become pair i.
template <class Order>
GPU_FN Terms split(const float* v) {
  Terms terms;
  UNROLL for (int i = 0; i < 4; i++) {
    const float a = v[Order::first(i)], b = v[Order::second(i)];
    const uint high = cut_bf16(a, b);
    terms.high[i] = high;
    const float rest_a = a - __uint_as_float(high << 16);
    const float rest_b = b - __uint_as_float(high & 0xffff0000u);
    terms.low[i] = pack2(rest_a, rest_b, __nv_bfloat16());
  }
  return terms;
}

GPU_FN float load_element(const uchar* p, ulong at, uint type) {
  if (type == kGpuMatmulF32) return reinterpret_cast<const float*>(p)[at];
  if (type == kGpuMatmulF16) return __half2float(reinterpret_cast<const half*>(p)[at]);
  return __bfloat162float(reinterpret_cast<const bfloat*>(p)[at]);
}
GPU_FN void store_element(uchar* p, ulong at, uint type, float v) {
  if (type == kGpuMatmulF32) {
    reinterpret_cast<float*>(p)[at] = v;
  } else if (type == kGpuMatmulF16) {
    reinterpret_cast<half*>(p)[at] = __float2half(v);
  } else {
    reinterpret_cast<bfloat*>(p)[at] = __float2bfloat16(v);
  }
}

}  // namespace gpu
}  // namespace mlxn
