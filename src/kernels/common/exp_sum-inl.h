// SPDX-License-Identifier: Apache-2.0
// The two reductions of a softmax over one f32 row. Included by kernel files once per target.
#if defined(MLXN_KERNELS_COMMON_EXP_SUM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_EXP_SUM_INL_H
#undef MLXN_KERNELS_COMMON_EXP_SUM_INL_H
#else
#define MLXN_KERNELS_COMMON_EXP_SUM_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/common/exp_sum.h"
#include "kernels/common/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct RowMax {
  float max;  // of the elements that are not NaN; -infinity if there are none
  bool has_nan;
};

inline RowMax MaxOfRow(const float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto m0 = hn::Set(d, -std::numeric_limits<float>::infinity()), m1 = m0;
  auto nan0 = hn::IsNaN(hn::Zero(d)), nan1 = nan0;
  int64_t i = 0;
  // The comparison is false for NaN, so NaN never becomes the maximum.
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto v0 = hn::LoadU(d, x + i), v1 = hn::LoadU(d, x + i + lanes);
    m0 = hn::IfThenElse(hn::Gt(v0, m0), v0, m0);
    m1 = hn::IfThenElse(hn::Gt(v1, m1), v1, m1);
    nan0 = hn::Or(nan0, hn::IsNaN(v0));
    nan1 = hn::Or(nan1, hn::IsNaN(v1));
  }
  RowMax r{hn::GetLane(hn::MaxOfLanes(d, hn::Max(m0, m1))), !hn::AllFalse(d, hn::Or(nan0, nan1))};
  for (; i < count; ++i) {
    if (x[i] > r.max) r.max = x[i];
    r.has_nan = r.has_nan || std::isnan(x[i]);
  }
  return r;
}

// Sum of e^((x - max) * scale). Blocks of kExpSumBlock are summed in f32 lanes, the blocks in
// double. If `out` is not null it receives the terms; it may be x. If `block_sums` is not null it
// receives the sum of each block.
inline double ExpSum(const float* x, int64_t count, float max, float scale, float* out,
                     double* block_sums) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto vmax = hn::Set(d, max), vscale = hn::Set(d, scale);
  double total = 0.0;
  for (int64_t begin = 0; begin < count; begin += kExpSumBlock) {
    const int64_t end = std::min(count, begin + kExpSumBlock);
    auto s0 = hn::Zero(d), s1 = hn::Zero(d);
    int64_t i = begin;
    for (; i + 2 * lanes <= end; i += 2 * lanes) {
      const auto e0 = Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x + i), vmax), vscale));
      const auto e1 = Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x + i + lanes), vmax), vscale));
      s0 = hn::Add(s0, e0);
      s1 = hn::Add(s1, e1);
      if (out != nullptr) {
        hn::StoreU(e0, d, out + i);
        hn::StoreU(e1, d, out + i + lanes);
      }
    }
    for (; i + lanes <= end; i += lanes) {
      const auto e = Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, x + i), vmax), vscale));
      s0 = hn::Add(s0, e);
      if (out != nullptr) hn::StoreU(e, d, out + i);
    }
    if (i < end) {
      // e^-infinity adds nothing.
      HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)];
      std::fill_n(tail, lanes, -std::numeric_limits<float>::infinity());
      std::copy(x + i, x + end, tail);
      const auto e = Exp(d, hn::Mul(hn::Sub(hn::Load(d, tail), vmax), vscale));
      s1 = hn::Add(s1, e);
      hn::Store(e, d, tail);
      if (out != nullptr) std::copy(tail, tail + (end - i), out + i);
    }
    const double sum = double{hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)))};
    if (block_sums != nullptr) block_sums[begin / kExpSumBlock] = sum;
    total += sum;
  }
  return total;
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
