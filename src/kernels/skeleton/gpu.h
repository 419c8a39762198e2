// SPDX-License-Identifier: Apache-2.0
// out = a x + y: a thread takes 16 bytes of each operand.
//   x, y, out [count]
#include "kernels/common/gpu_rows.h"
#include "kernels/skeleton/gpu_args.h"

KERNELS_BEGIN(axpy)

template <typename T>
KERNEL(axpy, SHADOW(T, x), SHADOW(T, y), OUT(T, out), PARAMS(GpuAxpy, p)) {
  await_inputs();
  constexpr int V = 16 / sizeof(T);
  const uint at = V * (GROUP_ID.x * GROUP_SIZE + THREAD_ID);
  if (at >= p.count) return;
  const uint left = p.count - at;
  float a[V], b[V];
  load_row<V>(x + at, left, p.vectors != 0, a);
  load_row<V>(y + at, left, p.vectors != 0, b);
  UNROLL for (int j = 0; j < V; j++) a[j] = p.a * a[j] + b[j];
  store_row<V>(out + at, left, p.vectors != 0, a);
}

INSTANTIATE(axpy_f32, axpy, float)
INSTANTIATE(axpy_f16, axpy, half)
INSTANTIATE(axpy_bf16, axpy, bfloat)

KERNELS_END
