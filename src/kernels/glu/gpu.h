// SPDX-License-Identifier: Apache-2.0
// out = activation(gate) * up: a thread takes 16 bytes of each operand, p.groups threadgroups a
// row.
//   gate, up [rows, dim] with stride in_stride   out [rows, dim]
#include "kernels/common/gpu_rows.h"
#include "kernels/glu/gpu_activations.h"
#include "kernels/glu/gpu_args.h"

SPEC_BOOL(0, glu_vectors)  // every row of every operand is aligned to 16 bytes

KERNELS_BEGIN(glu)

template <typename F, typename T SPEC_TPARAM>
KERNEL(glu, SHADOW(T, gate), SHADOW(T, up), OUT(T, out), PARAMS(GpuGlu, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  const uint row = GROUP_ID.x / p.groups;
  const uint at = V * (GROUP_ID.x % p.groups * GROUP_SIZE + THREAD_ID);
  if (at >= p.dim) return;
  const ulong in_row = ulong(row) * p.in_stride;
  float x[V], y[V];
  load_part<V>(gate + in_row, at, p.dim, SPEC(glu_vectors), x);
  load_part<V>(up + in_row, at, p.dim, SPEC(glu_vectors), y);
  UNROLL for (int j = 0; j < V; j++) x[j] = F::of(x[j]) * y[j];
  store_part<V>(out + ulong(row) * p.dim, at, p.dim, SPEC(glu_vectors), x);
}

INSTANTIATE_SPEC(glu_gelu_tanh_f32, glu, 1, GeluTanh, float)
INSTANTIATE_SPEC(glu_gelu_tanh_f16, glu, 1, GeluTanh, half)
INSTANTIATE_SPEC(glu_gelu_tanh_bf16, glu, 1, GeluTanh, bfloat)
INSTANTIATE_SPEC(glu_gelu_erf_f32, glu, 1, GeluErf, float)
INSTANTIATE_SPEC(glu_gelu_erf_f16, glu, 1, GeluErf, half)
INSTANTIATE_SPEC(glu_gelu_erf_bf16, glu, 1, GeluErf, bfloat)
INSTANTIATE_SPEC(glu_silu_f32, glu, 1, Silu, float)
INSTANTIATE_SPEC(glu_silu_f16, glu, 1, Silu, half)
INSTANTIATE_SPEC(glu_silu_bf16, glu, 1, Silu, bfloat)
INSTANTIATE_SPEC(glu_sigmoid_f32, glu, 1, Sigmoid, float)
INSTANTIATE_SPEC(glu_sigmoid_f16, glu, 1, Sigmoid, half)
INSTANTIATE_SPEC(glu_sigmoid_bf16, glu, 1, Sigmoid, bfloat)

KERNELS_END
