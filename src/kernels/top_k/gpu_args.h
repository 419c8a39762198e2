// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of top_k gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuTopK {
  unsigned int count;      // elements per row of x
  unsigned int length;     // keys per row that this round reads; in the first round `count`
  unsigned int groups;     // threadgroups per row
  unsigned int sort_size;  // keys that a threadgroup sorts: a power of two, twice its threads
  unsigned int k;
  unsigned int first;  // 1: keys are made from x
  unsigned int last;   // 1: the result is written
};
static_assert(sizeof(GpuTopK) == 28, "4-byte scalars only");
