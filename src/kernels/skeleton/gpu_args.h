// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of axpy gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuAxpy {
  unsigned int count;    // elements
  unsigned int vectors;  // 1: every operand is aligned to 16 bytes
  float a;
};
static_assert(sizeof(GpuAxpy) == 12, "4-byte scalars only");
