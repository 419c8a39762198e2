// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of moe_combine gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuMoeCombine {
  unsigned int top_k;
  unsigned int dim;     // elements
  unsigned int groups;  // threadgroups per token
  unsigned int shared;  // 1: the operand is there
  unsigned int shared_gate;
  unsigned int residual;
  unsigned int vectors;  // 1: every row of every operand is aligned to 16 bytes
};
static_assert(sizeof(GpuMoeCombine) == 28, "4-byte scalars only");
