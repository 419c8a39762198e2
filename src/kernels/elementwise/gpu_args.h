// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of elementwise get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuElementwise {
  unsigned int count;    // elements
  unsigned int vectors;  // 1: every operand is aligned to 16 bytes
  float scalar;          // factor or cap
};
static_assert(sizeof(GpuElementwise) == 12, "4-byte scalars only");
