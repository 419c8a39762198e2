// SPDX-License-Identifier: Apache-2.0
// The activations of gated products, written so that nothing cancels where they go to 0 on the
// negative side.
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

// x / (1 + e^-z), 0 for x = -infinity.
GPU_FN float gated(float x, float z) {
  return x == -INFINITY ? 0.0f : quick_divide(x, 1.0f + exp(-z));
}

// erfc(z) for z >= 0 to 4e-7 of itself: e^(-z^2) t P(t), t = 1 / (1 + z / 2).
GPU_FN float erfc_positive(float z) {
  const float t = quick_divide(1.0f, fma(0.5f, z, 1.0f));
  float sum = -0.0591208413f;
  sum = fma(sum, t, 0.284829676f);
  sum = fma(sum, t, -0.487730652f);
  sum = fma(sum, t, 0.278678298f);
  sum = fma(sum, t, -0.0270494744f);
  sum = fma(sum, t, 0.202867419f);
  sum = fma(sum, t, 0.243057817f);
  sum = fma(sum, t, 0.282381684f);
  sum = fma(sum, t, 0.282086045f);
  return exp2(z * z * -1.44269504f) * t * sum;
}

// 0.5 (1 + tanh u) = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh {
  static GPU_FN float of(float x) {
    return gated(x, x * 1.5957691216f * fma(x * x, 0.044715f, 1.0f));
  }
};
// 0.5 (1 + erf(x / sqrt 2)) = 0.5 erfc(-x / sqrt 2).
struct GeluErf {
  static GPU_FN float of(float x) {
    const float tail = 0.5f * erfc_positive(fabs(x) * 0.70710678118f);
    const float kept = x < 0.0f ? tail : 1.0f - tail;
    return x == -INFINITY ? 0.0f : x * kept;
  }
};
struct Silu {
  static GPU_FN float of(float x) { return gated(x, x); }
};
struct Sigmoid {
  static GPU_FN float of(float x) { return gated(1.0f, x); }
};

GPU_LIBRARY_END
