// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of glu get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuGlu {
  unsigned int dim;        // elements per row
  unsigned int in_stride;  // elements from row to row of gate and up
  unsigned int groups;     // threadgroups per row
  unsigned int vectors;    // 1: every row of every operand is aligned to 16 bytes
};
static_assert(sizeof(GpuGlu) == 16, "4-byte scalars only");
