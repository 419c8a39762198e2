// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_mask_build gets besides its buffer. Read by C++, CUDA and Metal.
#pragma once

struct GpuAttnMaskBuild {
  unsigned int pieces;      // work items in all: q_len * row_pieces
  unsigned int row_pieces;  // items per row
  unsigned int k_len;
  unsigned int q_offset;     // position of the first query
  unsigned int window_size;  // keys; 0: all
  unsigned int causal;
};
static_assert(sizeof(GpuAttnMaskBuild) == 24, "4-byte scalars only");
