// SPDX-License-Identifier: Apache-2.0
// How a simdgroup codes a row that it holds in registers, laid out as in gpu_tq.h.
#pragma once
#include "kernels/common/gpu_tq.h"

GPU_LIBRARY_BEGIN

// Copies the bounds between levels to threadgroup memory [256]; a barrier must follow.
GPU_FN void stage_bounds(CONSTANT GpuTqCoder& c, THREADGROUP float* bounds, uint index,
                         uint threads) {
  for (uint i = index; i < 1u << c.bits; i += threads) bounds[i] = c.bounds[i];
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
    float factor = sqrt(float(c.dim)) / norms_of[run];
    if (!one_norm) {
      norms_of[run] = norms_of[run] / 16.0f;  // root mean square of 256
      factor = c.scale_factor / norms_of[run];
    }
    if (norms_of[run] <= 1e-10f) factor = 0.0f;
    const uint group = run * 32 + lane, middle = 1u << (c.bits - 1);
    if (8 * group >= c.dim) continue;
    ulong word = 0;
    UNROLL for (int j = 0; j < 8; j++) {
      const float z = v[8 * run + j] * factor;
      uint index = 0;  // bounds below z
      for (uint step = middle; step > 0; step /= 2) {
        if (bounds[index + step - 1] < z) index += step;
      }
      if (c.sign_magnitude != 0) {
        index = index >= middle ? index - middle : 2 * middle - 1 - index;
      }
      word |= ulong(index) << (j * c.code_bits);
      if (corrects) z_z[run] = fma(z, z, z_z[run]);
      if (corrects) z_level[run] = fma(z, levels[index], z_level[run]);
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
