// SPDX-License-Identifier: Apache-2.0
// Functions that GPUs compute slowly or with different results: built from fma, so that every
// device gives the same bits.
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

// Sine and cosine to 1e-7 up to |x| = 2^18, beyond that to 2^-22 |x|. Finite for finite x.
GPU_FN void sin_cos(float x, THREAD float* s, THREAD float* c) {
  // x = n pi/2 + r, pi/2 as a sum of three floats; n is exact up to 2^24, r is bounded beyond.
  const float n = rint(x * 0.636619772f);
  float r = fma(n, -1.57079637f, x);
  r = fma(n, 4.37113883e-08f, r);
  r = fma(n, 1.71512451e-15f, r);
  r = min(max(r, -0.79f), 0.79f);
  const float r2 = r * r;
  // Minimax on [-pi/4, pi/4], to 5e-12 and 5e-11.
  float ps = fma(2.71816339e-06f, r2, -0.000198393202f);
  ps = fma(ps, r2, 0.00833332911f);
  ps = fma(ps, r2, -0.166666672f);
  ps = fma(ps * r2, r, r);
  float pc = fma(2.43888244e-05f, r2, -0.00138867472f);
  pc = fma(pc, r2, 0.0416666232f);
  pc = fma(pc, r2, -0.5f);
  pc = fma(pc, r2, 1.0f);
  // The quadrant, n mod 4, without a conversion that could overflow.
  const float quadrant = n - 4.0f * floor(n * 0.25f);
  const bool odd = quadrant == 1.0f || quadrant == 3.0f;
  const float sine = odd ? pc : ps, cosine = odd ? ps : pc;
  *s = quadrant >= 2.0f ? -sine : sine;
  *c = quadrant == 1.0f || quadrant == 2.0f ? -cosine : cosine;
}

GPU_LIBRARY_END
