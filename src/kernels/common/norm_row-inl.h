// SPDX-License-Identifier: Apache-2.0
// The two passes of an RMS norm over one f32 row. Included by kernel files once per target.
#if defined(MLXN_KERNELS_COMMON_NORM_ROW_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_NORM_ROW_INL_H
#undef MLXN_KERNELS_COMMON_NORM_ROW_INL_H
#else
#define MLXN_KERNELS_COMMON_NORM_ROW_INL_H
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four accumulators hide the latency of fma; their order of addition is fixed, so a row's result
// depends on nothing but the row.
inline float SumOfSquares(const float* x, int64_t dim) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 4 * lanes <= dim; i += 4 * lanes) {
    const auto v0 = hn::LoadU(d, x + i), v1 = hn::LoadU(d, x + i + lanes);
    const auto v2 = hn::LoadU(d, x + i + 2 * lanes), v3 = hn::LoadU(d, x + i + 3 * lanes);
    s0 = hn::MulAdd(v0, v0, s0);
    s1 = hn::MulAdd(v1, v1, s1);
    s2 = hn::MulAdd(v2, v2, s2);
    s3 = hn::MulAdd(v3, v3, s3);
  }
  for (; i + lanes <= dim; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    s0 = hn::MulAdd(v, v, s0);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < dim; ++i) sum += x[i] * x[i];
  return sum;
}

// 1 / sqrt(mean(x^2) + eps).
inline float InverseRms(const float* x, int64_t dim, float eps) {
  return 1.0f / std::sqrt(SumOfSquares(x, dim) / static_cast<float>(dim) + eps);
}

// out = (x * inv * (offset + weight) * factor + add) * scale, where weight, factor and add may be
// null.
inline void NormRow(const float* x, const float* weight, const float* factor, const float* add,
                    float inv, float offset, float scale, int64_t dim, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto vinv = hn::Set(d, inv), voffset = hn::Set(d, offset), vscale = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    auto v = hn::Mul(hn::LoadU(d, x + i), vinv);
    if (weight != nullptr) v = hn::Mul(v, hn::Add(voffset, hn::LoadU(d, weight + i)));
    if (factor != nullptr) v = hn::Mul(v, hn::LoadU(d, factor + i));
    if (add != nullptr) v = hn::Add(v, hn::LoadU(d, add + i));
    hn::StoreU(hn::Mul(v, vscale), d, out + i);
  }
  for (; i < dim; ++i) {
    float v = x[i] * inv;
    if (weight != nullptr) v *= offset + weight[i];
    if (factor != nullptr) v *= factor[i];
    if (add != nullptr) v += add[i];
    out[i] = v * scale;
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
