// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_prefill_tq gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_tq_args.h"

// Elements from one sequence, head or position to the next.
struct GpuQueryStrides {
  unsigned int batch, head, row;
};

struct GpuAttnPrefillTq {
  GpuTqTable k, v;
  GpuQueryStrides q, out;
  GpuPages pages;
  unsigned int num_heads;
  unsigned int num_kv_heads;
  unsigned int q_len;
  unsigned int tiles;         // simdgroups per head
  unsigned int simds;         // simdgroups in all
  unsigned int capacity;      // slots per KV head
  unsigned int window_size;   // keys; 0: all
  unsigned int window_ahead;  // keys; 0: all
  unsigned int chunk_size;    // positions; 0: no chunks
  unsigned int query_type;    // a GpuQueryType: of q and out
  unsigned int q_offset;      // 1: the operand is there; 0: the queries are the last positions
  unsigned int ring_start;    // 1: the operand is there
  unsigned int prefix_len;    // 1: the operand is there
  unsigned int sinks;         // 1: the operand is there
  unsigned int slopes;        // 1: the operand is there
  unsigned int lse;           // 1: the operand is there
  unsigned int ring;          // slot = position mod capacity
  unsigned int causal;
  unsigned int rotated;  // 1: q and out are in the rotated domain
  unsigned int vectors;  // 1: rows of q and out are aligned to 16 bytes
  float softmax_scale;
  float logits_soft_cap;  // 0: off
};
static_assert(sizeof(GpuAttnPrefillTq) == 2352, "4-byte scalars only");
