// SPDX-License-Identifier: Apache-2.0
// Activations as two bf16 terms for the matrix units.
#pragma once
#include <cstdint>

#include "kernels/common/cuda_mma.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_copy.h"
#include "kernels/matmul/gpu_element.h"

namespace mlxn {
namespace gpu {
namespace panels {

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

// What `high` leaves of v: nothing of an infinity, whose difference with itself would be no number.
GPU_FN float rest(float v, float high) { return v == high ? 0.0f : v - high; }

// Elements Order::first(i) and Order::second(i) of v become pair i.
template <class Order>
GPU_FN Terms split(const float* v) {
  Terms terms;
  UNROLL for (int i = 0; i < 4; i++) {
    const float a = v[Order::first(i)], b = v[Order::second(i)];
    const uint high = cut_bf16(a, b);
    terms.high[i] = high;
    terms.low[i] = pack2(rest(a, __uint_as_float(high << 16)),
                         rest(b, __uint_as_float(high & 0xffff0000u)), __nv_bfloat16());
  }
  return terms;
}

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
