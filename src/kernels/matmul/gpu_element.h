// SPDX-License-Identifier: Apache-2.0
// Single elements of a type that the launch names, a GpuMatmulType.
#pragma once
#include "kernels/common/gpu.h"
#include "kernels/matmul/gpu_args.h"

GPU_LIBRARY_BEGIN

GPU_FN float load_element(DEVICE const uchar* p, ulong at, uint type) {
  if (type == kGpuMatmulF32) return ((DEVICE const float*)p)[at];
  if (type == kGpuMatmulF16) return float(((DEVICE const half*)p)[at]);
  return float(((DEVICE const bfloat*)p)[at]);
}
GPU_FN void store_element(DEVICE uchar* p, ulong at, uint type, float v) {
  if (type == kGpuMatmulF32) {
    ((DEVICE float*)p)[at] = v;
  } else if (type == kGpuMatmulF16) {
    ((DEVICE half*)p)[at] = half(v);
  } else {
    ((DEVICE bfloat*)p)[at] = bfloat(v);
  }
}

GPU_LIBRARY_END
