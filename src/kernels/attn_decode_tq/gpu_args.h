// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of attn_decode_tq get besides their buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_tq_args.h"

struct GpuAttnDecodeTq {
  GpuTqTable k;
  GpuTqTable v;
  unsigned int num_heads;
  unsigned int num_kv_heads;
  unsigned int capacity;     // slots per KV head
  unsigned int window_size;  // keys; 0: all
  unsigned int chunk_size;   // keys; 0: no chunks
  unsigned int n_split;      // as asked for; 0: by the number of keys
  unsigned int splits;       // parts of a query head that the launch has room for
  unsigned int tiles;        // threadgroups that share the query heads of one KV head
  unsigned int ring_start;   // 1: the operand is there
  unsigned int ring;         // slot = position mod capacity
  unsigned int rotated;      // 1: q and out are in the rotated domain
  unsigned int query_type;   // a GpuQueryType: of q and out
  unsigned int vectors;      // 1: q and out are aligned to 16 bytes
  unsigned int sinks;        // 1: the operand is there
  unsigned int slopes;       // 1: the operand is there
  unsigned int lse;          // 1: the operand is there
  GpuPages pages;
  GpuParts parts;
  // Of codes of sign and magnitude whose levels are odd integers 2 b + 1 times a unit: the bytes b
  // by magnitude, four in a word.
  unsigned int k_bytes[2], v_bytes[2];
  float k_unit, v_unit;
  float softmax_scale;
  float logits_soft_cap;  // 0: off
};
static_assert(sizeof(GpuAttnDecodeTq) == 2348, "4-byte scalars only");
