// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_merge gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuAttnMerge {
  unsigned int num_parts;
  unsigned int rows;
  unsigned int dim;      // elements of a row
  unsigned int out_lse;  // 1: the operand is there
};
static_assert(sizeof(GpuAttnMerge) == 16, "4-byte scalars only");
