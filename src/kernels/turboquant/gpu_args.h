// SPDX-License-Identifier: Apache-2.0
// What the GPU kernels of TurboQuant get besides their buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_tq_args.h"

struct GpuFwht {
  unsigned int dim;
  unsigned int before;     // 1: signs before the transform
  unsigned int after;      // 1: signs after it
  unsigned int signs[16];  // bit j: element j is negated
};
static_assert(sizeof(GpuFwht) == 76, "4-byte scalars only");

struct GpuTqEncode {
  GpuTqCoder coder;
  float levels[256];  // by code; read for the correction of norms only
  unsigned int rows;  // batch * n * num_kv_heads
  unsigned int num_kv_heads;
  unsigned int n;  // tokens written
  unsigned int n_src;
  unsigned int src_offset;
  unsigned int pos_skip;  // added to pos
  unsigned int capacity;  // slots of a sequence
  unsigned int ring;
  unsigned int norm_correction;
  unsigned int src_type;  // a GpuQueryType
  unsigned int vectors;   // 1: src is aligned to 16 bytes
  GpuPages pages;
};
static_assert(sizeof(GpuTqEncode) == 2200, "4-byte scalars only");

struct GpuTqDecode {
  GpuTqTable table;
  unsigned int rows;  // heads * n
  unsigned int n;     // slots
  unsigned int first_slot;
  unsigned int capacity;
  unsigned int rotate_back;
  unsigned int vectors;  // 1: out is aligned to 16 bytes
};
static_assert(sizeof(GpuTqDecode) == 1136, "4-byte scalars only");
