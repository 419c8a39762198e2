// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of glu get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuGlu {
  unsigned int dim;        // elements per row
  unsigned int in_stride;  // elements from row to row of gate and up
  unsigned int groups;     // threadgroups per row
};
static_assert(sizeof(GpuGlu) == 12, "4-byte scalars only");
