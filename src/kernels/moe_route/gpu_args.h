// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of moe_route get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

// What the weights of the selected experts are divided by.
enum GpuRouteSum { kGpuRouteSelected, kGpuRouteScaled, kGpuRouteAll };

struct GpuMoeRoute {
  unsigned int tokens;
  unsigned int experts;
  unsigned int top_k;
  unsigned int expert_scale;  // 1: the operand is there
  unsigned int sum;           // a GpuRouteSum
};
static_assert(sizeof(GpuMoeRoute) == 20, "4-byte scalars only");
