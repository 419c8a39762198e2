// SPDX-License-Identifier: Apache-2.0
// out = activation(gate) * up: a thread takes 16 bytes of each operand, p.groups threadgroups a
// row.
//   gate, up [rows, dim] with stride in_stride   out [rows, dim]
#include "kernels/common/gpu_rows.h"
#include "kernels/glu/gpu_activations.h"
#include "kernels/glu/gpu_args.h"

KERNELS_BEGIN(glu)

template <typename F, typename T>
KERNEL(glu, SHADOW(T, gate), SHADOW(T, up), OUT(T, out), PARAMS(GpuGlu, p)) {
  await_inputs();
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
