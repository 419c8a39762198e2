// SPDX-License-Identifier: Apache-2.0
// The Walsh-Hadamard rotation of a row, and TurboQuant's signs. Included once per Highway target,
// so the guard toggles.
#if defined(MLXN_KERNELS_COMMON_FWHT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_FWHT_INL_H_
#undef MLXN_KERNELS_COMMON_FWHT_INL_H_
#else
#define MLXN_KERNELS_COMMON_FWHT_INL_H_
#endif

#include <hwy/highway.h>

#include <bit>
#include <cmath>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stages of distance 1, 2, .. below a vector's lanes: x_i becomes x_i + x_(i^h), or x_(i^h) - x_i
// where bit h of i is set.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FwhtLanes(D d, V x) {
  const hn::RebindToSigned<D> di;
  for (int32_t h = 1; h < static_cast<int32_t>(hn::Lanes(d)); h *= 2) {
    const auto lane = hn::Iota(di, 0);
    const auto distance = hn::Set(di, h);
    const auto other = hn::IndicesFromVec(d, hn::Xor(lane, distance));
    const auto flip = hn::IfThenElseZero(hn::Eq(hn::And(lane, distance), distance),
                                         hn::Set(di, std::numeric_limits<int32_t>::min()));
    x = hn::Add(hn::TableLookupLanes(x, other), hn::Xor(x, hn::BitCast(d, flip)));
  }
  return x;
}

// One block: x [size] = H x / sqrt(size), size a power of two.
HWY_INLINE void FwhtBlock(float* x, int64_t size) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  if (size < lanes) {
    for (int64_t h = 1; h < size; h *= 2) {
      for (int64_t i = 0; i < size; ++i) {
        if ((i & h) != 0) continue;
        const float a = x[i], b = x[i + h];
        x[i] = a + b;
        x[i + h] = a - b;
      }
    }
    for (int64_t i = 0; i < size; ++i) x[i] *= scale;
    return;
  }
  for (int64_t i = 0; i < size; i += lanes) hn::StoreU(FwhtLanes(d, hn::LoadU(d, x + i)), d, x + i);
  for (int64_t h = lanes; h < size; h *= 2) {
    for (int64_t base = 0; base < size; base += 2 * h) {
      for (int64_t i = base; i < base + h; i += lanes) {
        const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + i + h);
        hn::StoreU(hn::Add(a, b), d, x + i);
        hn::StoreU(hn::Sub(a, b), d, x + i + h);
      }
    }
  }
  for (int64_t i = 0; i < size; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), d, x + i);
  }
}

// A row of any length: blocks of powers of two, the largest first.
HWY_INLINE void FwhtRow(float* x, int64_t dim) {
  for (int64_t begin = 0; begin < dim;) {
    const auto size = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(dim - begin)));
    FwhtBlock(x + begin, size);
    begin += size;
  }
}

// x_j *= s_j; bit j of `signs` set: s_j = -1.
HWY_INLINE void ApplySigns(const uint32_t* signs, float* x, int64_t dim) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto high = hn::Set(du, 0x80000000u);
  const auto up = hn::Sub(hn::Set(du, 31u), hn::Iota(du, 0u));
  int64_t j = 0;
  for (; j + lanes <= dim; j += lanes) {
    const auto bits = hn::Shl(hn::Set(du, signs[j / 32] >> (j % 32)), up);
    const auto flip = hn::BitCast(d, hn::And(bits, high));
    hn::StoreU(hn::Xor(hn::LoadU(d, x + j), flip), d, x + j);
  }
  for (; j < dim; ++j) {
    if (signs[j / 32] >> (j % 32) & 1) x[j] = -x[j];
  }
}

// x = R x, and x = R^-1 x.
HWY_INLINE void RotateRow(const uint32_t* signs, float* x, int64_t dim) {
  ApplySigns(signs, x, dim);
  FwhtRow(x, dim);
}
HWY_INLINE void RotateRowBack(const uint32_t* signs, float* x, int64_t dim) {
  FwhtRow(x, dim);
  ApplySigns(signs, x, dim);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
