// SPDX-License-Identifier: Apache-2.0
// What the GPU kernel of attn_prefill_tq gets besides its buffers. Read by C++, CUDA and Metal.
#pragma once
#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/common/gpu_tq_args.h"

struct GpuAttnPrefillTq {
  GpuAttnPrefill attn;  // no mask, nothing packed; of k and v the tables below say how they lie
  GpuTqTable k, v;
  unsigned int rotated;  // 1: q and out are in the rotated domain
  // On CUDA's matrix units: bytes of the tables of levels, of V 0 if it has that of K; their units.
  unsigned int k_table, v_table;
  float k_unit, v_unit;
};
static_assert(sizeof(GpuAttnPrefillTq) == 2444, "4-byte scalars only");
