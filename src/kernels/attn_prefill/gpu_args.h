// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_prefill gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"

// The type of an explicit mask's cells.
enum GpuMaskType { kGpuMaskNone, kGpuMaskF32, kGpuMaskF16, kGpuMaskBF16, kGpuMaskU8 };

struct GpuMask {
  unsigned int type;         // a GpuMaskType
  unsigned int batch, head;  // planes from one sequence or head to the next
  unsigned int rows, columns;
  unsigned int tile_rows, tile_columns;  // of the classes
  unsigned int classes;                  // 1: the operand is there
};

struct GpuAttnPrefill {
  GpuStrides q, k, v, out;
  GpuMask mask;
  GpuPages pages;
  unsigned int num_heads;
  unsigned int group;  // query heads per KV head
  unsigned int q_len;  // with packed queries: their rows
  unsigned int batch;
  unsigned int tiles;  // simdgroups per head
  unsigned int simds;  // simdgroups in all
  unsigned int capacity;
  unsigned int window_size;   // keys; 0: all
  unsigned int window_ahead;  // keys; 0: all
  unsigned int chunk_size;    // positions; 0: no chunks
  unsigned int head_dim;      // elements, a multiple of 8
  unsigned int v_dim;         // elements, a multiple of 8
  unsigned int query_type;    // a GpuQueryType: of q and out
  unsigned int q_offset;      // 1: the operand is there; 0: the queries are the last positions
  unsigned int ring_start;    // 1: the operand is there
  unsigned int prefix_len;    // 1: the operand is there
  unsigned int q_starts;      // 1: the operand is there
  unsigned int k_starts;      // 1: the operand is there
  unsigned int sinks;         // 1: the operand is there
  unsigned int slopes;        // 1: the operand is there
  unsigned int lse;           // 1: the operand is there
  unsigned int ring;          // slot = position mod capacity
  unsigned int causal;
  unsigned int vectors;  // 1: every row of every operand is aligned to 16 bytes
  float softmax_scale;
  float logits_soft_cap;  // 0: off
};
static_assert(sizeof(GpuAttnPrefill) == 200, "4-byte scalars only");
