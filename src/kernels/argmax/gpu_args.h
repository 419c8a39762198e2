// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of argmax get besides their buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuArgmax {
  unsigned int count;    // elements per row
  unsigned int chunk;    // elements of a row that one threadgroup takes, a multiple of 4
  unsigned int chunks;   // per row
  unsigned int vectors;  // 1: every row is aligned to 16 bytes
  unsigned int values;   // 1: the operand is there
};
static_assert(sizeof(GpuArgmax) == 20, "4-byte scalars only");
