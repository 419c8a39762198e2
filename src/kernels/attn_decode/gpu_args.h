// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of attn_decode get besides their buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"

struct GpuAttnDecode {
  unsigned int num_heads;
  unsigned int num_kv_heads;
  unsigned int capacity;     // slots per KV head
  unsigned int window_size;  // keys; 0: all
  unsigned int chunk_size;   // keys; 0: no chunks
  unsigned int head_dim;     // elements, a multiple of 8
  unsigned int v_dim;        // elements, a multiple of 8
  unsigned int n_split;      // as asked for; 0: by the number of keys
  unsigned int splits;       // parts of a query head that the launch has room for
  unsigned int tiles;        // threadgroups that share the query heads of one KV head
  unsigned int query_type;   // a GpuQueryType: of q and out
  unsigned int ring_start;   // 1: the operand is there
  unsigned int ring;         // slot = position mod capacity
  unsigned int vectors;      // 1: every row of every operand is aligned to 16 bytes
  unsigned int sinks;        // 1: the operand is there
  unsigned int slopes;       // 1: the operand is there
  unsigned int lse;          // 1: the operand is there
  GpuParts parts;
  GpuPages pages;
  float softmax_scale;
  float logits_soft_cap;  // 0: off
};
static_assert(sizeof(GpuAttnDecode) == 104, "4-byte scalars only");
