// SPDX-License-Identifier: Apache-2.0
// Rows of f32 activations times panels of weights whose codes are no integers of 16 bits. Included
// inside the same anonymous namespace, before panel_dot.h.
//
// A block of 32 elements is four chains of eight fused multiply-adds, element after element; then
//   acc = fma(scale, ((chain 0 + chain 1) + chain 2) + chain 3, acc)
// on every path, so the bits of an output depend on nothing but its row of x and its row of w.
#pragma once

// 32 activations. Rows of x are read as blocks.
struct FloatBlock {
  float x[kBlock];
};
constexpr int kChain = 8;

template <Terms kTerms>
constexpr bool kIsFloat = kTerms == Terms::kFloat;
template <Terms kTerms>
using BlockOf = std::conditional_t<kIsFloat<kTerms>, FloatBlock, ActivationBlock>;

// acc[m] += scale * (32 values of a block) . x[m]; value(element) gives kRows weights.
template <int kM, int kP, class Value>
inline void add_float_block(const Value& value, const Float* scale, const FloatBlock* const* x,
                            Float (&acc)[kM][kP]) {
  Float sum[kM][kP];
#pragma GCC unroll 4
  for (int first = 0; first < kBlock; first += kChain) {
    Float chain[kM][kP];
#pragma GCC unroll 8
    for (int e = first; e < first + kChain; ++e) {
      Float w[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) w[p] = value(p, e);
#pragma GCC unroll 8
      for (int m = 0; m < kM; ++m) {
        const Float xe = Lanes::splat(x[m]->x[e]);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) {
          chain[m][p] = e == first ? Lanes::mul(w[p], xe) : Lanes::mul_add(w[p], xe, chain[m][p]);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) {
        sum[m][p] = first == 0 ? chain[m][p] : Lanes::add(sum[m][p], chain[m][p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kM; ++m) {
#pragma GCC unroll 2
    for (int p = 0; p < kP; ++p) acc[m][p] = Lanes::mul_add(scale[p], sum[m][p], acc[m][p]);
  }
}
