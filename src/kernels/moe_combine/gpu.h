// SPDX-License-Identifier: Apache-2.0
// moe_combine: a thread sums 16 bytes of a token's row, expert after expert.
//   y [tokens, top_k, dim]   weights [tokens, top_k]   shared, residual, out [tokens, dim]
//   shared_gate [tokens]
#include "kernels/common/gpu_rows.h"
#include "kernels/moe_combine/gpu_args.h"

KERNELS_BEGIN(moe_combine)

template <int V, typename T>
GPU_FN void accumulate(DEVICE const T* row, float weight, uint left, bool vectors,
                       THREAD float* sum) {
  float v[V];
  load_row<V>(row, left, vectors, v);
  UNROLL for (int j = 0; j < V; j++) sum[j] = weight * v[j] + sum[j];
}

template <typename T>
KERNEL(moe_combine, IN(T, y), IN(float, weights), SHADOW(T, shared), IN(float, shared_gate),
       SHADOW(T, residual), OUT(T, out), PARAMS(GpuMoeCombine, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  const uint token = GROUP_ID.x / p.groups;
  const uint at = V * (GROUP_ID.x % p.groups * GROUP_SIZE + THREAD_ID);
  if (at >= p.dim) return;
  const uint left = p.dim - at;
  const bool vectors = p.vectors != 0;
  const ulong row = ulong(token) * p.dim + at, selection = ulong(token) * p.top_k;

  float sum[V];
  UNROLL for (int j = 0; j < V; j++) sum[j] = 0.0f;
  for (uint j = 0; j < p.top_k; j++) {
    accumulate<V>(y + (selection + j) * p.dim + at, weights[selection + j], left, vectors, sum);
  }
  if (p.shared != 0) {
    const float gate = p.shared_gate != 0 ? 1.0f / (1.0f + exp(-shared_gate[token])) : 1.0f;
    accumulate<V>(shared + row, gate, left, vectors, sum);
  }
  if (p.residual != 0) accumulate<V>(residual + row, 1.0f, left, vectors, sum);
  store_row<V>(out + row, left, vectors, sum);
}

INSTANTIATE(moe_combine_f32, moe_combine, float)
INSTANTIATE(moe_combine_f16, moe_combine, half)
INSTANTIATE(moe_combine_bf16, moe_combine, bfloat)

KERNELS_END
