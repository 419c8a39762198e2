// SPDX-License-Identifier: Apache-2.0
// out[i] = f(a[i], b[i]) over rows of any float dtype, f written on f32 vectors. An element's bits
// do not depend on its place: the tail goes through the same vector code as the rest. Included by
// kernel files once per target.
#if defined(MLXN_KERNELS_COMMON_TRANSFORM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_TRANSFORM_INL_H
#undef MLXN_KERNELS_COMMON_TRANSFORM_INL_H
#else
#define MLXN_KERNELS_COMMON_TRANSFORM_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/common/float_io.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Elements [at, at + lanes) as if the row were padded with zeros after `count`.
template <class D>
HWY_INLINE hn::Vec<D> LoadTail(D d, const float* row, int64_t at, int64_t count) {
  HWY_ALIGN float padded[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(padded, row + at, static_cast<size_t>(count - at) * sizeof(float));
  return hn::Load(d, padded);
}

template <class D>
HWY_INLINE void StoreTail(D d, hn::Vec<D> value, float* row, int64_t at, int64_t count) {
  HWY_ALIGN float padded[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(value, d, padded);
  std::memcpy(row + at, padded, static_cast<size_t>(count - at) * sizeof(float));
}

// f32 rows; out may be a or b. b may be null, f then gets a twice.
template <class F>
HWY_INLINE void TransformRow(F f, const float* a, const float* b, int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (b == nullptr) b = a;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i < count) {
    StoreTail(d, f(d, LoadTail(d, a, i, count), LoadTail(d, b, i, count)), out, i, count);
  }
}

// An operand of any float dtype, read or written from element `at` on.
struct RowRef {
  const void* data;  // null: absent
  int64_t at;
};

template <class F>
HWY_INLINE void Transform(F f, DType dtype, RowRef a, RowRef b, int64_t count, void* out,
                          int64_t out_at) {
  if (dtype == DType::kF32) {
    const float* b_row = b.data ? static_cast<const float*>(b.data) + b.at : nullptr;
    TransformRow(f, static_cast<const float*>(a.data) + a.at, b_row, count,
                 static_cast<float*>(out) + out_at);
    return;
  }
  constexpr int64_t kPiece = 256;
  float a_row[kPiece], b_row[kPiece];
  for (int64_t i = 0; i < count; i += kPiece) {
    const int64_t n = std::min(kPiece, count - i);
    load_f32(dtype, a.data, a.at + i, n, a_row);
    if (b.data != nullptr) load_f32(dtype, b.data, b.at + i, n, b_row);
    TransformRow(f, a_row, b.data ? b_row : nullptr, n, a_row);
    store_f32(dtype, a_row, n, out, out_at + i);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
