// SPDX-License-Identifier: Apache-2.0
// A TurboQuant format as GPU kernels get it, part of their constants. Read by C++, CUDA and Metal.
#pragma once

struct GpuTqTable {
  unsigned int dim;        // elements of a row, a multiple of 8 up to 512
  unsigned int code_bits;  // eight codes make this many bytes
  unsigned int row_bytes;
  unsigned int norm_count;  // 2 at dim 512, else 1
  unsigned int words;       // 1: every row of codes is aligned to 4 bytes
  float scale_factor;
  unsigned int signs[16];  // bit j: element j is negated
  float levels[256];       // by code; beyond 2^bits they repeat
};
static_assert(sizeof(GpuTqTable) == 1112, "4-byte scalars only");

// What rows are coded with.
struct GpuTqCoder {
  unsigned int dim;
  unsigned int code_bits;
  unsigned int row_bytes;
  unsigned int norm_count;
  float scale_factor;
  unsigned int signs[16];
  unsigned int bits;
  unsigned int sign_magnitude;  // the order of codes
  float bounds[256];            // [2^bits - 1] between ascending levels
};
static_assert(sizeof(GpuTqCoder) == 1116, "4-byte scalars only");
