// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of dequantize and embed get besides their buffers. Read by C++, CUDA and
// Metal.
#pragma once

enum GpuOutType { kGpuOutF32, kGpuOutF16, kGpuOutBF16 };

struct GpuDequantize {
  unsigned int pieces;           // work items in all: output rows * row_pieces
  unsigned int row_pieces;       // items of eight elements per row
  unsigned int rows;             // of the weight
  unsigned int cols;             // elements per row
  unsigned int row_bytes;        // from row to row of the codes
  unsigned int row_scale_bytes;  // from row to row of scales and biases
  unsigned int bits;
  unsigned int group_size;
  unsigned int has_biases;
  unsigned int ids;       // 1: output row i is row ids[i], or zeros; 0: it is row i
  unsigned int out_type;  // a GpuOutType
  unsigned int vectors;   // 1: every row of dense weights and of the output is aligned to 16 bytes
  float scale;            // multiplies every element
};
static_assert(sizeof(GpuDequantize) == 52, "4-byte scalars only");
