// SPDX-License-Identifier: Apache-2.0
// Which keys a part of a sequence has, and where: attn_keys.h and splits.h for GPU kernels.
#pragma once
#include "kernels/attn_decode/gpu_args.h"
#include "kernels/common/gpu_rows.h"

GPU_LIBRARY_BEGIN

// Position a lies in slot (a + shift) mod capacity; only the slots below num_valid hold keys.
struct KeyRange {
  uint first, end;  // visible positions
  uint num_valid;
  uint shift;
  uint keys_each;  // of a part
};

GPU_FN uint ceil_div(uint a, uint b) { return a / b + (a % b != 0 ? 1 : 0); }

// Values of a device buffer have not been checked, so they are clamped to the cache.
GPU_FN KeyRange visible_keys(int kv_len, int ring_start, CONSTANT GpuAttnDecode& p) {
  const uint len = kv_len < 0 ? 0 : uint(kv_len);
  KeyRange keys;
  keys.num_valid = min(len, p.capacity);
  keys.end = p.ring != 0 ? len : keys.num_valid;
  keys.first = keys.end - keys.num_valid;
  keys.shift =
      p.ring == 0 && ring_start >= 0 && uint(ring_start) < p.capacity ? uint(ring_start) : 0;
  if (p.window_size > 0) keys.first = max(keys.first, keys.end - min(p.window_size, keys.end));
  const uint visible = keys.end - keys.first;
  if (p.n_split > 0) {
    keys.keys_each = max(1u, ceil_div(visible, p.n_split));
  } else {
    const uint even = ceil_div(ceil_div(visible, 64), 64) * 64;
    keys.keys_each = max(visible > 2048 ? 512u : 256u, even);
  }
  return keys;
}

// Eight elements of a query or output row.
GPU_FN void load_query8(DEVICE const uchar* q, ulong at, CONSTANT GpuAttnDecode& p,
                        THREAD float* v) {
  const bool vectors = p.vectors != 0;
  if (p.query_type == kGpuQueryF32) {
    load_row<8>((DEVICE const float*)q + at, 8, vectors, v);
  } else if (p.query_type == kGpuQueryF16) {
    load_row<8>((DEVICE const half*)q + at, 8, vectors, v);
  } else {
    load_row<8>((DEVICE const bfloat*)q + at, 8, vectors, v);
  }
}
GPU_FN void store_output(DEVICE uchar* out, ulong at, CONSTANT GpuAttnDecode& p, float v) {
  if (p.query_type == kGpuQueryF32) {
    ((DEVICE float*)out)[at] = v;
  } else if (p.query_type == kGpuQueryF16) {
    ((DEVICE half*)out)[at] = half(v);
  } else {
    ((DEVICE bfloat*)out)[at] = bfloat(v);
  }
}

GPU_LIBRARY_END
