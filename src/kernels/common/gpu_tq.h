// SPDX-License-Identifier: Apache-2.0
// TurboQuant rows in the registers of kLanes lanes, laid out as in gpu_attn.h: a lane holds
// elements 8 (run kLanes + lane) .. + 7, run 0 and 1, so that eight codes of a lane are whole
// bytes. At dim 512 a run is what a norm stands for.
#pragma once
#include "kernels/common/gpu_attn.h"
#include "kernels/common/gpu_tq_args.h"

GPU_LIBRARY_BEGIN

// v = H v per block of a power of two, the largest first, each by the root of its size. The block
// of element e has the size of the highest bit in which e and dim differ.
template <int kLanes>
GPU_FN void fwht_elements(THREAD float* v, uint dim, uint lane) {
  UNROLL for (int h = 1; h < 8; h *= 2) {
    UNROLL for (int i = 0; i < kRowElements; i++) {
      if ((i & h) == 0) {
        const float a = v[i], b = v[i + h];
        v[i] = a + b;
        v[i + h] = a - b;
      }
    }
  }
  UNROLL for (int o = 1; o < kLanes; o *= 2) {
    UNROLL for (int i = 0; i < kRowElements; i++) {
      const uint e = 8 * (i / 8 * kLanes + lane);
      const float other = simd_shuffle_xor(v[i], o);
      const float mixed = (lane & o) != 0 ? other - v[i] : v[i] + other;
      v[i] = (e ^ dim) >= uint(16 * o) ? mixed : v[i];
    }
  }
  if (((8 * lane) ^ dim) >= uint(16 * kLanes)) {
    UNROLL for (int i = 0; i < 8; i++) {
      const float a = v[i], b = v[i + 8];
      v[i] = a + b;
      v[i + 8] = a - b;
    }
  }
  UNROLL for (int run = 0; run < 2; run++) {
    const uint differ = (8 * (run * kLanes + lane)) ^ dim;
    uint size = 8;
    while (2 * size <= differ) size *= 2;
    const float scale = 1.0f / sqrt(float(size));
    UNROLL for (int j = 0; j < 8; j++) v[8 * run + j] = v[8 * run + j] * scale;
  }
}

template <int kLanes>
GPU_FN void apply_signs(THREAD float* v, CONSTANT GpuTqTable& t, uint lane) {
  UNROLL for (int run = 0; run < 2; run++) {
    const uint e = 8 * (run * kLanes + lane);
    const uint bits = t.signs[e / 32] >> (e % 32);
    UNROLL for (int j = 0; j < 8; j++) {
      v[8 * run + j] = (bits >> j & 1) != 0 ? -v[8 * run + j] : v[8 * run + j];
    }
  }
}

// v = R v and v = R^-1 v.
template <int kLanes>
GPU_FN void rotate_elements(THREAD float* v, CONSTANT GpuTqTable& t, uint lane) {
  apply_signs<kLanes>(v, t, lane);
  fwht_elements<kLanes>(v, t.dim, lane);
}
template <int kLanes>
GPU_FN void rotate_elements_back(THREAD float* v, CONSTANT GpuTqTable& t, uint lane) {
  fwht_elements<kLanes>(v, t.dim, lane);
  apply_signs<kLanes>(v, t, lane);
}

// Copies the codebook to threadgroup memory [256]; a barrier must follow.
GPU_FN void stage_levels(CONSTANT GpuTqTable& t, THREADGROUP float* levels, uint index,
                         uint threads) {
  for (uint i = index; i < 256; i += threads) levels[i] = t.levels[i];
}

// The levels of a row; 0 beyond dim, which is 0 for a row that is not there.
template <int kLanes>
GPU_FN void load_levels(DEVICE const uchar* row, CONSTANT GpuTqTable& t, uint dim, uint lane,
                        THREADGROUP const float* levels, THREAD float* v) {
  const uint mask = (1u << t.code_bits) - 1u;
  UNROLL for (int run = 0; run < 2; run++) {
    const uint group = run * kLanes + lane;
    if (8 * group < dim) {
      DEVICE const uchar* codes = row + group * t.code_bits;
      ulong word = 0;
      if (t.words != 0 && t.code_bits == 4) {
        word = *(DEVICE const uint*)codes;
      } else if (t.words != 0 && t.code_bits == 8) {
        word = ulong(((DEVICE const uint*)codes)[1]) << 32 | ((DEVICE const uint*)codes)[0];
      } else {
        for (uint i = 0; i < t.code_bits; i++) word |= ulong(codes[i]) << (8 * i);
      }
      UNROLL for (int j = 0; j < 8; j++) {
        v[8 * run + j] = levels[uint(word) & mask];
        word >>= t.code_bits;
      }
    } else {
      UNROLL for (int j = 0; j < 8; j++) v[8 * run + j] = 0.0f;
    }
  }
}

// What the levels of each run are multiplied by.
GPU_FN float2 norm_factors(DEVICE const float* norms, CONSTANT GpuTqTable& t, bool there) {
  if (!there) return make_float2(0.0f, 0.0f);
  if (t.norm_count == 2) {
    return make_float2(norms[0] / t.scale_factor, norms[1] / t.scale_factor);
  }
  const float factor = norms[0] / sqrt(float(t.dim));
  return make_float2(factor, factor);
}

GPU_LIBRARY_END
