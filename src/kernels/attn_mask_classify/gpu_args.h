// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_mask_classify gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once

struct GpuAttnMaskClassify {
  unsigned int tiles;    // of all planes
  unsigned int q_tiles;  // of a plane
  unsigned int k_tiles;  // of a row of tiles
  unsigned int q_len;
  unsigned int k_len;
  unsigned int q_tile;  // rows of a tile
  unsigned int k_tile;  // keys of a tile
  float sentinel;       // cells at or below it are blocked; with u8 cells it is 0
};
static_assert(sizeof(GpuAttnMaskClassify) == 32, "4-byte scalars only");
