// SPDX-License-Identifier: Apache-2.0
// moe_route, scalar: a token costs about a microsecond, and tokens run in parallel.
#include "kernels/moe_route/cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/rank_key.h"

namespace mlxn::kernels {
namespace {

// e^(logit - max); NaN and -infinity count as no probability. With a logit of +infinity every
// weight of the token is NaN.
float mass(float logit, float max) {
  if (max == std::numeric_limits<float>::infinity()) return logit - logit + (max - max);
  return std::isnan(logit) || std::isinf(logit) ? 0.0f : std::exp(logit - max);
}

void route_token(const MoeRouteParams& p, int64_t token) {
  const float* logits = p.logits + token * p.experts;
  uint32_t* ids = p.ids + token * p.top_k;
  float* weights = p.weights + token * p.top_k;

  uint64_t keys[kMaxExperts];
  for (int64_t e = 0; e < p.experts; ++e) keys[e] = rank_key(logits[e], static_cast<uint32_t>(e));
  std::partial_sort(keys, keys + p.top_k, keys + p.experts, std::greater<>());
  for (int64_t j = 0; j < p.top_k; ++j) ids[j] = rank_index(keys[j]);

  const float max = logits[ids[0]];
  const bool softmax_first = p.mode == ops::RouteMode::kSoftmaxTopK;
  double selected = 0.0, scaled = 0.0;
  for (int64_t j = 0; j < p.top_k; ++j) {
    weights[j] = mass(logits[ids[j]], max);
    selected += weights[j];
    if (p.expert_scale != nullptr) weights[j] *= p.expert_scale[ids[j]];
    scaled += weights[j];
  }
  double sum = softmax_first ? selected : scaled;
  if (softmax_first && !p.renormalize) {
    sum = 0.0;
    for (int64_t e = 0; e < p.experts; ++e) sum += mass(logits[e], max);
  }
  for (int64_t j = 0; j < p.top_k; ++j) {
    weights[j] = sum == 0.0 ? 0.0f : static_cast<float>(weights[j] / sum);
  }
}

// Tokens per task.
constexpr int64_t kTaskTokens = 8;

}  // namespace

void moe_route_baseline(StreamImpl& stream, const MoeRouteParams& p, backends::Access access) {
  const uint32_t tasks = static_cast<uint32_t>((p.tokens + kTaskTokens - 1) / kTaskTokens);
  backends::cpu::cpu_stream(stream).dispatch(
      "moe_route", "baseline", std::move(access), tasks, [p](uint32_t task) {
        const int64_t begin = task * kTaskTokens;
        const int64_t end = std::min(p.tokens, begin + kTaskTokens);
        for (int64_t token = begin; token < end; ++token) route_token(p, token);
      });
}

}  // namespace mlxn::kernels
