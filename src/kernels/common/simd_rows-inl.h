// SPDX-License-Identifier: Apache-2.0
// Vectors of f32 from rows of f32, f16 or bf16. Widening is exact on every target, subnormals,
// infinities and NaN included. Included once per Highway target, so the guard toggles.
#if defined(MLXN_KERNELS_COMMON_SIMD_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_SIMD_ROWS_INL_H_
#undef MLXN_KERNELS_COMMON_SIMD_ROWS_INL_H_
#else
#define MLXN_KERNELS_COMMON_SIMD_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "mlxn/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const float* row) {
  return hn::LoadU(d, row);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const BF16* row) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(row));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadRow(D d, const F16* row) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(row)));
#else
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(row)));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(d32, 0x7fffu)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(d32, 0x8000u)));
  // The exponent bias differs by 112; the product also normalises subnormals exactly.
  const auto value = hn::BitCast(
      d32, hn::Mul(hn::BitCast(d, magnitude), hn::BitCast(d, hn::Set(d32, 0x77800000u))));
  // Infinity and NaN keep an exponent of all ones.
  const auto special = hn::Ge(hn::BitCast(d, magnitude), hn::BitCast(d, hn::Set(d32, 0x0f800000u)));
  const auto ones = hn::IfThenElseZero(hn::RebindMask(d32, special), hn::Set(d32, 0x7f800000u));
  return hn::BitCast(d, hn::Or(hn::Or(value, ones), sign));
#endif
}

// The same by the target's own conversion where that is exact, which only the emulated one of
// x86-64 before AVX2 is not: it makes numbers of infinities.
template <class D>
HWY_INLINE hn::Vec<D> WidenF16(D d, const uint16_t* row) {
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2
  return LoadRow(d, reinterpret_cast<const F16*>(row));
#else
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(row)));
#endif
}

// Elements [at, at + lanes) of a row of dim elements, dim a multiple of 8; those beyond dim are 0
// and are not read.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadRowPadded(D d, const T* row, int64_t at, int64_t dim) {
#if HWY_MAX_BYTES > 32
  if (at + static_cast<int64_t>(hn::Lanes(d)) > dim) {
    const hn::FixedTag<float, 8> half;
    return hn::ZeroExtendVector(d, LoadRow(half, row + at));
  }
#endif
  (void)dim;
  return LoadRow(d, row + at);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
