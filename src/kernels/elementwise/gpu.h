// SPDX-License-Identifier: Apache-2.0
// add, mul, scale, softcap and cast over flat arrays: a thread takes 16 bytes of its operand.
//   a, b, out [count]
#include "kernels/common/gpu_rows.h"
#include "kernels/elementwise/gpu_args.h"

KERNELS_BEGIN(elementwise)

// The formulas; b is a where there is no second operand.
struct Add {
  static GPU_FN float of(float a, float b, float s) { return a + b; }
};
struct Mul {
  static GPU_FN float of(float a, float b, float s) { return a * b; }
};
struct Scale {
  static GPU_FN float of(float a, float b, float s) { return a * s; }
};
struct Softcap {  // the reciprocal is taken once; finite, so that 0 stays 0 under a tiny cap
  static GPU_FN float of(float a, float b, float s) { return s * tanh(a * min(1.0f / s, 3.4e38f)); }
};

template <typename F, bool kBinary, typename T>
KERNEL(elementwise, SHADOW(T, a), SHADOW(T, b), OUT(T, out), PARAMS(GpuElementwise, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  const uint at = V * (GROUP_ID.x * GROUP_SIZE + THREAD_ID);
  if (at >= p.count) return;
  const uint left = p.count - at;
  float x[V], y[V];
  load_row<V>(a + at, left, p.vectors != 0, x);
  if (kBinary) load_row<V>(b + at, left, p.vectors != 0, y);
  UNROLL for (int j = 0; j < V; j++) x[j] = F::of(x[j], kBinary ? y[j] : x[j], p.scalar);
  store_row<V>(out + at, left, p.vectors != 0, x);
}

// A thread writes 16 bytes.
template <typename From, typename To>
KERNEL(cast, IN(From, x), OUT(To, out), PARAMS(GpuElementwise, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(To);
  const uint at = V * (GROUP_ID.x * GROUP_SIZE + THREAD_ID);
  if (at >= p.count) return;
  float v[V];
  load_row<V>(x + at, p.count - at, p.vectors != 0, v);
  store_row<V>(out + at, p.count - at, p.vectors != 0, v);
}

INSTANTIATE(add_f32, elementwise, Add, true, float)
INSTANTIATE(add_f16, elementwise, Add, true, half)
INSTANTIATE(add_bf16, elementwise, Add, true, bfloat)
INSTANTIATE(mul_f32, elementwise, Mul, true, float)
INSTANTIATE(mul_f16, elementwise, Mul, true, half)
INSTANTIATE(mul_bf16, elementwise, Mul, true, bfloat)
INSTANTIATE(scale_f32, elementwise, Scale, false, float)
INSTANTIATE(scale_f16, elementwise, Scale, false, half)
INSTANTIATE(scale_bf16, elementwise, Scale, false, bfloat)
INSTANTIATE(softcap_f32, elementwise, Softcap, false, float)
INSTANTIATE(softcap_f16, elementwise, Softcap, false, half)
INSTANTIATE(softcap_bf16, elementwise, Softcap, false, bfloat)
INSTANTIATE(cast_f32_f32, cast, float, float)
INSTANTIATE(cast_f32_f16, cast, float, half)
INSTANTIATE(cast_f32_bf16, cast, float, bfloat)
INSTANTIATE(cast_f16_f32, cast, half, float)
INSTANTIATE(cast_f16_f16, cast, half, half)
INSTANTIATE(cast_f16_bf16, cast, half, bfloat)
INSTANTIATE(cast_bf16_f32, cast, bfloat, float)
INSTANTIATE(cast_bf16_f16, cast, bfloat, half)
INSTANTIATE(cast_bf16_bf16, cast, bfloat, bfloat)

KERNELS_END
