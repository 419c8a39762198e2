// SPDX-License-Identifier: Apache-2.0
// Cells of an explicit mask as what is added to the scores of a row. Included once per Highway
// target, so the guard toggles.
#if defined(MLXN_KERNELS_ATTN_PREFILL_MASK_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_ATTN_PREFILL_MASK_ROW_INL_H_
#undef MLXN_KERNELS_ATTN_PREFILL_MASK_ROW_INL_H_
#else
#define MLXN_KERNELS_ATTN_PREFILL_MASK_ROW_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "kernels/attn_prefill/params.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Cells [0, count) as what is added to scores: -infinity at or below the sentinel.
template <class T>
void WidenMask(const T* cells, float sentinel, int64_t count, float* bias) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto widen = [sentinel](auto tag, const T* cell, float* out) {
    const auto value = LoadRow(tag, cell);
    const auto blocked = hn::Set(tag, -std::numeric_limits<float>::infinity());
    hn::StoreU(hn::IfThenElse(hn::Le(value, hn::Set(tag, sentinel)), blocked, value), tag, out);
  };
  int64_t j = 0;
  for (; j + lanes <= count; j += lanes) widen(d, cells + j, bias + j);
  for (; j < count; ++j) widen(d1, cells + j, bias + j);
}

// The same for cells from `at` on of the mask.
inline void LoadMask(const AttnMask& mask, int64_t at, int64_t count, float* bias) {
  switch (mask.dtype) {
    case DType::kU8:
      for (int64_t j = 0; j < count; ++j) {
        const bool attends = static_cast<const uint8_t*>(mask.data)[at + j] != 0;
        bias[j] = attends ? 0.0f : -std::numeric_limits<float>::infinity();
      }
      return;
    case DType::kF16:
      return WidenMask(static_cast<const F16*>(mask.data) + at, -65504.0f, count, bias);
    case DType::kBF16:
      return WidenMask(static_cast<const BF16*>(mask.data) + at, -1e30f, count, bias);
    default:
      return WidenMask(static_cast<const float*>(mask.data) + at, -1e30f, count, bias);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
