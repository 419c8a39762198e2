// SPDX-License-Identifier: Apache-2.0
// The first largest element of an f32 row. Included by kernel files once per target.
#if defined(MLXN_KERNELS_COMMON_ARGMAX_ROW_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_ARGMAX_ROW_INL_H
#undef MLXN_KERNELS_COMMON_ARGMAX_ROW_INL_H
#else
#define MLXN_KERNELS_COMMON_ARGMAX_ROW_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Largest element that is not NaN of x[0, count), -infinity if there is none.
inline float BlockMax(const float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto floor = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto m0 = floor, m1 = floor, m2 = floor, m3 = floor;
  int64_t i = 0;
  // The comparison is false for NaN, so NaN never becomes the maximum.
  const auto larger = [](auto v, auto m) HWY_ATTR { return hn::IfThenElse(hn::Gt(v, m), v, m); };
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    m0 = larger(hn::LoadU(d, x + i), m0);
    m1 = larger(hn::LoadU(d, x + i + lanes), m1);
    m2 = larger(hn::LoadU(d, x + i + 2 * lanes), m2);
    m3 = larger(hn::LoadU(d, x + i + 3 * lanes), m3);
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
  for (; i < count; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Lowest index of the largest element; NaN is ignored unless all are NaN, then 0.
inline int64_t ArgmaxRow(const float* x, int64_t count) {
  constexpr int64_t kBlock = 4096;
  float max = -std::numeric_limits<float>::infinity();
  int64_t block = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const float block_max = BlockMax(x + begin, std::min(kBlock, count - begin));
    if (block_max > max) {
      max = block_max;
      block = begin;
    }
  }
  // Only a row of NaN has no element that equals the maximum.
  const float* found = std::find(x + block, x + count, max);
  return found == x + count ? 0 : found - x;
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
