// SPDX-License-Identifier: Apache-2.0
// exp and tanh of f32 vectors, within 2 ulp of the exact value on every target. Included once per
// Highway target, so the guard toggles.
#if defined(MLXN_KERNELS_COMMON_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_SIMD_MATH_INL_H_
#undef MLXN_KERNELS_COMMON_SIMD_MATH_INL_H_
#else
#define MLXN_KERNELS_COMMON_SIMD_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Each x becomes e^x. -infinity gives exactly +0, 0 gives exactly 1, overflow gives +infinity, NaN
// stays NaN; subnormal results are rounded correctly to within the same bound. Vectors take every
// step together: one waits for each of its own.
template <int kCount, class D, class V>
HWY_INLINE void ExpAll(D d, V (&x)[kCount]) {
  const hn::RebindToSigned<D> di;
  hn::Vec<decltype(di)> n[kCount];
  V r[kCount], p[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    // Beyond these the result is 0 or infinity in f32; inside them 2^n is a product of two floats.
    const V clamped = hn::Min(hn::Max(x[i], hn::Set(d, -104.0f)), hn::Set(d, 89.0f));
    // x = n ln 2 + r with |r| <= ln(2) / 2. The high part of ln 2 has 10 bits, so n times it is
    // exact.
    n[i] = hn::NearestInt(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
    const V nf = hn::ConvertTo(d, n[i]);
    r[i] = hn::NegMulAdd(nf, hn::Set(d, 0.693359375f), clamped);
    r[i] = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4f), r[i]);
    // Minimax polynomial for (e^r - 1 - r) / r^2; its error is 5e-11 of e^r.
    p[i] = hn::Set(d, 1.97902438e-4f);
  }
  for (const float next :
       {1.39447586e-3f, 8.33349767e-3f, 4.16662936e-2f, 1.66666659e-1f, 5.00000007e-1f}) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) p[i] = hn::MulAdd(p[i], r[i], hn::Set(d, next));
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    p[i] = hn::Add(hn::MulAdd(p[i], hn::Mul(r[i], r[i]), r[i]), hn::Set(d, 1.0f));
    // 2^n in two factors: n reaches -150 and 128, one beyond the exponents of f32 on either side.
    const auto half = hn::ShiftRight<1>(n[i]);
    const auto bias = hn::Set(di, 127);
    const V scale1 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
    const V scale2 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(n[i], half), bias)));
    x[i] = hn::IfThenElse(hn::IsNaN(x[i]), x[i], hn::Mul(hn::Mul(p[i], scale1), scale2));
  }
}
template <class D, class V>
HWY_INLINE V Exp(D d, V x) {
  V all[1] = {x};
  ExpAll(d, all);
  return all[0];
}

// tanh x. +-infinity gives +-1, the sign of zero is kept, NaN stays NaN.
template <class D, class V>
HWY_INLINE V Tanh(D d, V x) {
  const V magnitude = hn::Abs(x);
  // Near 0: x + x^3 P(x^2), minimax on [0, 0.625^2].
  const V t = hn::Mul(x, x);
  V p = hn::Set(d, 2.14753970e-3f);
  p = hn::MulAdd(p, t, hn::Set(d, -8.18267718e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, 2.17029686e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -5.39472046e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.33332098e-1f));
  p = hn::MulAdd(p, t, hn::Set(d, -3.33333309e-1f));
  const V near_zero = hn::MulAdd(hn::Mul(p, t), x, x);
  // Elsewhere 1 - 2 / (e^2|x| + 1); an infinite e^2|x| gives 1.
  const V one = hn::Set(d, 1.0f);
  const V e = Exp(d, hn::Add(magnitude, magnitude));
  const V far = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  const V result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.625f)), near_zero, far);
  return hn::CopySign(result, x);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
