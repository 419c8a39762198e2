// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of rms_norm gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuRmsNorm {
  unsigned int dim;         // elements per row
  unsigned int add_before;  // 1: the operand is there
  unsigned int add_after;
  unsigned int factor;
  unsigned int weight;
  unsigned int sum;
  float eps;
  float weight_offset;
  float scale;
};
static_assert(sizeof(GpuRmsNorm) == 36, "4-byte scalars only");

struct GpuResidualNorms {
  unsigned int dim;         // elements per row
  unsigned int top_k;       // experts per row
  unsigned int vectors;     // 1: every row of every operand is aligned to 16 bytes
  unsigned int weights;     // bit i: weight i is there, in the order of the kernel's parameters
  unsigned int num_normed;  // normed copies
  float eps;
  float x_offset, experts_offset, offset;  // of weights 0 to 2
  float normed_offset0, normed_offset1, normed_offset2;
  float scale;
};
static_assert(sizeof(GpuResidualNorms) == 52, "4-byte scalars only");
