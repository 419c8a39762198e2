// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of kv_append get besides their buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"

struct GpuKvAppend {
  unsigned int pieces;      // work items in all: batch * n * num_kv_heads * row_pieces
  unsigned int row_pieces;  // items per row
  unsigned int n_src;
  unsigned int src_offset;
  unsigned int n;         // tokens written
  unsigned int pos_skip;  // added to pos
  unsigned int num_kv_heads;
  unsigned int capacity;  // slots
  unsigned int dim;       // elements of a row of k
  unsigned int v_dim;     // elements of a row of v
  unsigned int has_v;
  unsigned int ring;
  unsigned int token_major;
  unsigned int vectors;  // 1: every row of every operand is aligned to 16 bytes
  GpuPages pages;
};
static_assert(sizeof(GpuKvAppend) == 72, "4-byte scalars only");
