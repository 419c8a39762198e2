// SPDX-License-Identifier: Apache-2.0
// top_k in rounds: every threadgroup sorts some keys of a row and passes its k highest on, until
// one threadgroup is left. A key is the rank of an element above the complement of its index, so
// that keys are unique and descend in rank order.
//   x [rows, count]   in [rows, length]   out [rows, groups, k]   indices, values [rows, k]
#include "kernels/common/gpu_rank.h"
#include "kernels/top_k/gpu_args.h"

KERNELS_BEGIN(top_k)

// Puts the larger of two neighbours at `stride` first, or last in every other run of `size`.
GPU_FN void compare_exchange(THREADGROUP ulong* keys, uint pair, uint size, uint stride) {
  const uint i = 2 * pair - (pair & (stride - 1)), j = i + stride;
  const ulong a = keys[i], b = keys[j];
  const bool descending = (i & size) == 0;
  if ((a < b) == descending) {
    keys[i] = b;
    keys[j] = a;
  }
}

KERNEL(top_k_round, IN(float, x), IN(ulong, in), OUT(ulong, out), OUT(uint, indices),
       OUT(float, values), PARAMS(GpuTopK, p), TGBUF(ulong, keys)) {
  await_inputs();
  const uint row = GROUP_ID.x / p.groups, group = GROUP_ID.x % p.groups;
  const uint begin = group * p.sort_size;
  for (uint i = THREAD_ID; i < p.sort_size; i += GROUP_SIZE) {
    const uint at = begin + i;
    ulong key = 0;  // below every key
    if (at < p.length) {
      key = p.first != 0 ? ulong(rank_bits(x[ulong(row) * p.count + at])) << 32 | ulong(~at)
                         : in[ulong(row) * p.length + at];
    }
    keys[i] = key;
  }
  for (uint size = 2; size <= p.sort_size; size *= 2) {
    for (uint stride = size / 2; stride > 0; stride /= 2) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
      compare_exchange(keys, THREAD_ID, size, stride);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = THREAD_ID; i < p.k; i += GROUP_SIZE) {
    const ulong key = i < p.sort_size ? keys[i] : 0;
    if (p.last != 0) {
      const uint index = ~uint(key);
      indices[ulong(row) * p.k + i] = index;
      values[ulong(row) * p.k + i] = x[ulong(row) * p.count + index];
    } else {
      out[ulong(GROUP_ID.x) * p.k + i] = key;
    }
  }
}
EXPORT(top_k_round)

KERNELS_END
