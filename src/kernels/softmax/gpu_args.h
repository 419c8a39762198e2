// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of softmax gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuSoftmax {
  unsigned int cols;  // elements per row
};
static_assert(sizeof(GpuSoftmax) == 4, "4-byte scalars only");
