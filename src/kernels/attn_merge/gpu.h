// SPDX-License-Identifier: Apache-2.0
// attn_merge: a threadgroup joins the parts of one row, in their order.
//   parts [parts, rows, dim]   lse [parts, rows]   out [rows, dim]   out_lse [rows]
#include "kernels/attn_merge/gpu_args.h"
#include "kernels/common/gpu_rows.h"

KERNELS_BEGIN(attn_merge)

template <typename T>
KERNEL(attn_merge, IN(T, parts), IN(float, lse), OUT(T, out), OUT(float, out_lse),
       PARAMS(GpuAttnMerge, p)) {
  await_inputs();
  const uint row = GROUP_ID.x;
  float most = -INFINITY, total = 0.0f;
  for (uint i = 0; i < p.num_parts; i++) most = max(most, lse[ulong(i) * p.rows + row]);
  for (uint i = 0; i < p.num_parts; i++) {
    const float part = lse[ulong(i) * p.rows + row];
    if (part != -INFINITY) total = total + exp(part - most);
  }
  for (uint at = THREAD_ID; at < p.dim; at += GROUP_SIZE) {
    float element = 0.0f;
    for (uint i = 0; i < p.num_parts; i++) {
      const ulong place = ulong(i) * p.rows + row;
      const float part = lse[place];
      if (part == -INFINITY) continue;
      element = fma(exp(part - most), float(parts[place * p.dim + at]), element);
    }
    out[ulong(row) * p.dim + at] = T(total == 0.0f ? 0.0f : element / total);
  }
  if (p.out_lse != 0 && THREAD_ID == 0) {
    out_lse[row] = total == 0.0f ? -INFINITY : most + log(total);
  }
}

INSTANTIATE(attn_merge_f32, attn_merge, float)
INSTANTIATE(attn_merge_f16, attn_merge, half)
INSTANTIATE(attn_merge_bf16, attn_merge, bfloat)

KERNELS_END
