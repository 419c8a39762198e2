// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of moe_route: a stable sort, then the formulas as written in ops/moe.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/moe_route/params.h"

namespace mlxn::kernels {

struct MoeRouteReference {
  std::vector<uint32_t> ids;    // [tokens, top_k]
  std::vector<double> weights;  // [tokens, top_k]
};

inline MoeRouteReference moe_route_reference(const MoeRouteParams& p) {
  MoeRouteReference r;
  for (int64_t t = 0; t < p.tokens; ++t) {
    const float* x = p.logits + t * p.experts;
    std::vector<uint32_t> order(static_cast<size_t>(p.experts));
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return std::isnan(x[b]) ? !std::isnan(x[a]) : x[a] > x[b];
    });
    const std::vector<uint32_t> ids(order.begin(), order.begin() + p.top_k);
    // NaN and -infinity have no probability; +infinity makes every weight NaN.
    const auto mass = [&](uint32_t e) {
      if (std::isnan(x[e]) || x[e] == -INFINITY) return x[ids[0]] == INFINITY ? NAN : 0.0;
      return std::exp(double{x[e]} - x[ids[0]]);
    };
    double all = 0.0, selected = 0.0, scaled = 0.0;
    for (uint32_t e : order) all += mass(e);
    for (uint32_t e : ids) {
      selected += mass(e);
      scaled += mass(e) * (p.expert_scale ? p.expert_scale[e] : 1.0);
    }
    for (uint32_t e : ids) {
      const double w = mass(e) * (p.expert_scale ? p.expert_scale[e] : 1.0);
      const bool over_selected = p.mode == ops::RouteMode::kSoftmaxTopK && p.renormalize;
      const double sum = p.mode == ops::RouteMode::kTopKSoftmax ? scaled
                         : over_selected                        ? selected
                                                                : all;
      r.ids.push_back(e);
      r.weights.push_back(sum == 0.0 ? 0.0 : w / sum);
    }
  }
  return r;
}

}  // namespace mlxn::kernels
