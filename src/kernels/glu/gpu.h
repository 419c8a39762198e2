// SPDX-License-Identifier: Apache-2.0
// out = activation(gate) * up: a thread takes 16 bytes of each operand, p.groups threadgroups a
// row. The activations are written so that nothing cancels where they go to 0 on the negative side.
//   gate, up [rows, dim] with stride in_stride   out [rows, dim]
#include "kernels/common/gpu_rows.h"
#include "kernels/glu/gpu_args.h"

KERNELS_BEGIN(glu)

// x / (1 + e^-z), 0 for x = -infinity.
GPU_FN float gated(float x, float z) { return isinf(x) && x < 0.0f ? 0.0f : x / (1.0f + exp(-z)); }

// erfc(z) for z >= 0 to 4e-7 of itself: e^(-z^2) t P(t), t = 1 / (1 + z / 2).
GPU_FN float erfc_positive(float z) {
  const float t = 1.0f / (1.0f + 0.5f * z);
  float sum = -0.0591208413f;
  sum = fma(sum, t, 0.284829676f);
  sum = fma(sum, t, -0.487730652f);
  sum = fma(sum, t, 0.278678298f);
  sum = fma(sum, t, -0.0270494744f);
  sum = fma(sum, t, 0.202867419f);
  sum = fma(sum, t, 0.243057817f);
  sum = fma(sum, t, 0.282381684f);
  sum = fma(sum, t, 0.282086045f);
  return exp(-z * z) * t * sum;
}

// 0.5 (1 + tanh u) = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh {
  static GPU_FN float of(float x) {
    return gated(x, x * 1.5957691216f * fma(x * x, 0.044715f, 1.0f));
  }
};
// 0.5 (1 + erf(x / sqrt 2)) = 0.5 erfc(-x / sqrt 2).
struct GeluErf {
  static GPU_FN float of(float x) {
    if (isinf(x)) return x < 0.0f ? 0.0f : x;
    const float tail = 0.5f * erfc_positive(fabs(x) * 0.70710678118f);
    return x * (x < 0.0f ? tail : 1.0f - tail);
  }
};
struct Silu {
  static GPU_FN float of(float x) { return gated(x, x); }
};
struct Sigmoid {
  static GPU_FN float of(float x) { return gated(1.0f, x); }
};

template <typename F, typename T>
KERNEL(glu, SHADOW(T, gate), SHADOW(T, up), OUT(T, out), PARAMS(GpuGlu, p)) {
  constexpr int V = 16 / sizeof(T);
  const uint row = GROUP_ID.x / p.groups;
  const uint at = V * (GROUP_ID.x % p.groups * GROUP_SIZE + THREAD_ID);
  if (at >= p.dim) return;
  const uint left = p.dim - at;
  const ulong in_at = ulong(row) * p.in_stride + at;
  float x[V], y[V];
  load_row<V>(gate + in_at, left, p.vectors != 0, x);
  load_row<V>(up + in_at, left, p.vectors != 0, y);
  UNROLL for (int j = 0; j < V; j++) x[j] = F::of(x[j]) * y[j];
  store_row<V>(out + ulong(row) * p.dim + at, left, p.vectors != 0, x);
}

INSTANTIATE(glu_gelu_tanh_f32, glu, GeluTanh, float)
INSTANTIATE(glu_gelu_tanh_f16, glu, GeluTanh, half)
INSTANTIATE(glu_gelu_tanh_bf16, glu, GeluTanh, bfloat)
INSTANTIATE(glu_gelu_erf_f32, glu, GeluErf, float)
INSTANTIATE(glu_gelu_erf_f16, glu, GeluErf, half)
INSTANTIATE(glu_gelu_erf_bf16, glu, GeluErf, bfloat)
INSTANTIATE(glu_silu_f32, glu, Silu, float)
INSTANTIATE(glu_silu_f16, glu, Silu, half)
INSTANTIATE(glu_silu_bf16, glu, Silu, bfloat)
INSTANTIATE(glu_sigmoid_f32, glu, Sigmoid, float)
INSTANTIATE(glu_sigmoid_f16, glu, Sigmoid, half)
INSTANTIATE(glu_sigmoid_bf16, glu, Sigmoid, bfloat)

KERNELS_END
