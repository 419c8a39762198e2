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
  // Not unrolled: code that runs once a launch is slower to fetch than to run.
  for (uint o = 1; 8 * o < min(dim, 8u * kLanes); o *= 2) {
    UNROLL for (int i = 0; i < kRowElements; i++) {
      if (i == 8 && uint(8 * kLanes) >= dim) break;
      const uint e = 8 * (i / 8 * kLanes + lane);
      const float other = simd_shuffle_xor(v[i], o);
      const float mixed = (lane & o) != 0 ? other - v[i] : v[i] + other;
      v[i] = (e ^ dim) >= 16 * o ? mixed : v[i];
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
    if (uint(8 * run * kLanes) >= dim) break;
    const uint differ = (8 * (run * kLanes + lane)) ^ dim;
    uint size = 8;
    while (2 * size <= differ) size *= 2;
    const float scale = 1.0f / sqrt(float(size));
    UNROLL for (int j = 0; j < 8; j++) v[8 * run + j] = v[8 * run + j] * scale;
  }
}

template <int kLanes, typename Table>
GPU_FN void apply_signs(THREAD float* v, CONSTANT Table& t, uint lane) {
  UNROLL for (int run = 0; run < 2; run++) {
    const uint e = 8 * (run * kLanes + lane);
    const uint bits = t.signs[e / 32] >> (e % 32);
    UNROLL for (int j = 0; j < 8; j++) {
      v[8 * run + j] = (bits >> j & 1) != 0 ? -v[8 * run + j] : v[8 * run + j];
    }
  }
}

// v = R v and v = R^-1 v.
template <int kLanes, typename Table>
GPU_FN void rotate_elements(THREAD float* v, CONSTANT Table& t, uint lane) {
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

// A value per run; with one norm for the row both get the value of the row.
GPU_FN float2 joined(float2 per_run, bool one_norm) {
  const float sum = per_run.x + per_run.y;
  return one_norm ? make_float2(sum, sum) : per_run;
}

// The root of the sum of squares of each run over the lanes. Squares of large values would
// overflow.
GPU_FN float2 roots_of_squares(THREAD const float* v, bool one_norm) {
  float largest = 0.0f;
  UNROLL for (int i = 0; i < kRowElements; i++) largest = max(largest, fabs(v[i]));
  const float shrink = simd_max(largest) > 1.15292150e18f ? 5.42101086e-20f : 1.0f;  // 2^60, 2^-64
  float2 sums = make_float2(0.0f, 0.0f);
  UNROLL for (int j = 0; j < 8; j++) {
    sums.x = fma(v[j] * shrink, v[j] * shrink, sums.x);
    sums.y = fma(v[j + 8] * shrink, v[j + 8] * shrink, sums.y);
  }
  sums = joined(make_float2(simd_sum(sums.x), simd_sum(sums.y)), one_norm);
  return make_float2(sqrt(sums.x) / shrink, sqrt(sums.y) / shrink);
}

// v = R v becomes codes and norms. `levels` by code serve the correction of norms only.
GPU_FN void encode_elements(THREAD float* v, CONSTANT GpuTqCoder& c,
                            THREADGROUP const float* bounds, THREADGROUP const float* levels,
                            bool corrects, DEVICE uchar* codes, DEVICE float* norms, uint lane) {
  rotate_elements<32>(v, c, lane);
  UNROLL for (int i = 0; i < kRowElements; i++) {
    if (8 * (i / 8 * 32 + lane) >= c.dim) v[i] = 0.0f;
  }
  const bool one_norm = c.norm_count == 1;
  const float2 roots = roots_of_squares(v, one_norm);
  float norms_of[2] = {roots.x, roots.y};
  float z_z[2] = {0.0f, 0.0f}, z_level[2] = {0.0f, 0.0f};
  UNROLL for (int run = 0; run < 2; run++) {
    if (256u * run >= c.dim) break;
    float factor = sqrt(float(c.dim)) / norms_of[run];
    if (!one_norm) {
      norms_of[run] = norms_of[run] / 16.0f;  // root mean square of 256
      factor = c.scale_factor / norms_of[run];
    }
    if (norms_of[run] <= 1e-10f) factor = 0.0f;
    const uint group = run * 32 + lane, middle = 1u << (c.bits - 1);
    if (8 * group >= c.dim) continue;
    ulong word = 0;
    uint index[8] = {};  // bounds below z
    for (uint step = middle; step > 0; step /= 2) {
      UNROLL for (int j = 0; j < 8; j++) {
        if (bounds[index[j] + step - 1] < v[8 * run + j] * factor) index[j] += step;
      }
    }
    UNROLL for (int j = 0; j < 8; j++) {
      const float z = v[8 * run + j] * factor;
      uint code = index[j];
      if (c.sign_magnitude != 0) code = code >= middle ? code - middle : 2 * middle - 1 - code;
      word |= ulong(code) << (j * c.code_bits);
      if (corrects) z_z[run] = fma(z, z, z_z[run]);
      if (corrects) z_level[run] = fma(z, levels[code], z_level[run]);
    }
    DEVICE uchar* out = codes + group * c.code_bits;
    for (uint i = 0; i < c.code_bits; i++) out[i] = uchar(word >> (8 * i) & 255);
  }
  if (corrects) {
    const float2 with_itself = joined(make_float2(simd_sum(z_z[0]), simd_sum(z_z[1])), one_norm);
    const float2 with_level =
        joined(make_float2(simd_sum(z_level[0]), simd_sum(z_level[1])), one_norm);
    if (with_level.x > 0.0f) norms_of[0] = norms_of[0] * (with_itself.x / with_level.x);
    if (with_level.y > 0.0f) norms_of[1] = norms_of[1] * (with_itself.y / with_level.y);
  }
  if (lane == 0) norms[0] = norms_of[0];
  if (lane == 0 && !one_norm) norms[1] = norms_of[1];
}

GPU_LIBRARY_END
