// SPDX-License-Identifier: Apache-2.0
// Constants of the kernel that copies bytes (kernels/copy/gpu.h), for backends that record copies
// as launches. The Metal compiler reads this too.
#pragma once

// 16-byte pieces; the last has `tail` bytes, 1 to 16.
struct GpuCopy {
  unsigned int pieces, tail, vectors;  // vectors: both addresses are multiples of 16
};
