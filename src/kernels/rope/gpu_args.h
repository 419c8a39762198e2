// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of rope get besides their buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_tq_args.h"

struct GpuRope {
  unsigned int heads;
  unsigned int head_dim;        // elements
  unsigned int pairs;           // rotated pairs per head
  unsigned int units;           // pairs of elements that a head is walked in, rotated or not
  unsigned int half_dim;        // from the first to the second element of a pair; 0: interleaved
  unsigned int lanes;           // that share a head: 4, 8, 16 or 32
  unsigned int heads_per_simd;  // heads of one token that one simdgroup takes, at most 32
  unsigned int chunks;          // simdgroups per token
  unsigned int simds;           // simdgroups in all
  unsigned int weight;          // 1: the operand is there
  float inverse_dim;            // 1 / head_dim
  float eps;
  float weight_offset;
};
static_assert(sizeof(GpuRope) == 52, "4-byte scalars only");

struct GpuQkvRope {
  unsigned int num_heads;  // of q
  unsigned int num_kv_heads;
  unsigned int q_chunks;   // simdgroups per token for q
  unsigned int kv_chunks;  // and for k, and for v
  unsigned int v_lanes;    // that share a head of v
  unsigned int n;          // tokens of a sequence
  unsigned int capacity;   // slots
  unsigned int ring;
  unsigned int norm_v;    // 0: v goes to its cache as it is
  unsigned int q_weight;  // 1: the operand is there
  unsigned int k_weight;
  GpuPages pages;
  GpuRope rope;
};
static_assert(sizeof(GpuQkvRope) == 112, "4-byte scalars only");

struct GpuQkvEncode {
  GpuQkvRope qkv;
  GpuTqCoder coders[2];  // of k and of v
};
static_assert(sizeof(GpuQkvEncode) == 2344, "4-byte scalars only");
