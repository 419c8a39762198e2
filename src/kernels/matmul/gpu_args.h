// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of matmul and expert_matmul get besides their buffers. Read by C++, CUDA and
// Metal.
#pragma once

enum GpuMatmulType { kGpuMatmulF32, kGpuMatmulF16, kGpuMatmulBF16 };

struct GpuMatmul {
  unsigned int rows;             // N, of one expert
  unsigned int cols;             // K
  unsigned int experts;          // E
  unsigned int out_rows;         // rows of out, residual and ids
  unsigned int rows_per_x;       // out row r multiplies x row r / rows_per_x
  unsigned int tiles;            // tiles of out rows
  unsigned int row_bytes;        // from row to row of the codes
  unsigned int row_scale_bytes;  // from row to row of scales and biases
  unsigned int bits;
  unsigned int group_size;
  unsigned int has_biases;
  unsigned int has_ids;       // 1: out row r takes expert ids[r], or zeros; 0: there is one expert
  unsigned int has_residual;  // 1: it is added
  unsigned int x_type;        // a GpuMatmulType
  unsigned int out_type;      // a GpuMatmulType
  unsigned int x_vectors;     // 1: every row of x is aligned to 16 bytes
  unsigned int w_vectors;     // 1: every row of dense weights is
};
static_assert(sizeof(GpuMatmul) == 68, "4-byte scalars only");
