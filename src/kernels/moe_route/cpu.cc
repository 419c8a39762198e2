// SPDX-License-Identifier: Apache-2.0
// moe_route with SIMD exponentials. A token costs about a microsecond, and tokens run in parallel.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/moe_route/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/exp_sum-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/top_keys-inl.h"
#include "kernels/moe_route/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// NaN has no probability, as -infinity has none.
inline float WithoutNan(float logit) {
  return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
}

// Sum of e^(logit - max) over all experts.
inline double MassOfAll(const float* logits, int64_t experts, float max) {
  HWY_ALIGN float row[kMaxExperts];
  std::transform(logits, logits + experts, row, WithoutNan);
  return ExpSum(row, experts, max, 1.0f, nullptr, nullptr);
}

void RouteToken(const MoeRouteParams& p, int64_t token) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float* logits = p.logits + token * p.experts;
  uint32_t* ids = p.ids + token * p.top_k;
  float* weights = p.weights + token * p.top_k;

  uint64_t keys[kMaxExperts];
  TopKeys(logits, p.experts, p.top_k, keys);
  for (int64_t j = 0; j < p.top_k; ++j) ids[j] = rank_index(keys[j]);

  const float max = WithoutNan(logits[ids[0]]);
  if (max == kInfinity || max == -kInfinity) {
    std::fill_n(weights, p.top_k, max > 0.0f ? std::numeric_limits<float>::quiet_NaN() : 0.0f);
    return;
  }
  for (int64_t j = 0; j < p.top_k; ++j) weights[j] = WithoutNan(logits[ids[j]]);
  double sum = ExpSum(weights, p.top_k, max, 1.0f, weights, nullptr);
  if (p.expert_scale != nullptr) {
    for (int64_t j = 0; j < p.top_k; ++j) weights[j] *= p.expert_scale[ids[j]];
  }
  if (p.mode == ops::RouteMode::kTopKSoftmax) {
    sum = 0.0;
    for (int64_t j = 0; j < p.top_k; ++j) sum += weights[j];
  } else if (!p.renormalize) {
    sum = MassOfAll(logits, p.experts, max);
  }
  for (int64_t j = 0; j < p.top_k; ++j) {
    weights[j] = sum == 0.0 ? 0.0f : static_cast<float>(weights[j] / sum);
  }
}

void RouteTokens(const MoeRouteParams& p, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) RouteToken(p, token);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(RouteTokens);

namespace {

// Tokens per task.
constexpr int64_t kTaskTokens = 8;

void launch(StreamImpl& stream, const MoeRouteParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto route = variant(HWY_DISPATCH_TABLE(RouteTokens), isa);
  const int64_t tasks = (p.tokens + kTaskTokens - 1) / kTaskTokens;
  backends::cpu::cpu_stream(stream).dispatch(
      "moe_route", name, std::move(access), tasks, [p, route](uint32_t task) {
        const int64_t begin = task * kTaskTokens;
        route(p, begin, std::min(p.tokens, begin + kTaskTokens));
      });
}

}  // namespace

void moe_route_avx512(StreamImpl& stream, const MoeRouteParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void moe_route_avx2(StreamImpl& stream, const MoeRouteParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void moe_route_baseline(StreamImpl& stream, const MoeRouteParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
