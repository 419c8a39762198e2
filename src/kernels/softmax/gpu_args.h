// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of softmax gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuSoftmax {
  unsigned int cols;     // elements per row
  unsigned int vectors;  // 1: every row of both operands is aligned to 16 bytes
};
static_assert(sizeof(GpuSoftmax) == 8, "4-byte scalars only");
