// SPDX-License-Identifier: Apache-2.0
// moe_route: one simdgroup per token. A lane holds kPerLane experts, its best in front; the best of
// all lanes is taken top_k times. Lane j then weighs the selections j and j + 32.
//   logits [tokens, experts]   expert_scale [experts]   ids, weights [tokens, top_k]
#include "kernels/common/gpu_rank.h"
#include "kernels/moe_route/gpu_args.h"

KERNELS_BEGIN(moe_route)

// Experts with their ranks from 1 on; 0 is what is taken or beyond the last expert. Equal ranks
// keep their order.
template <int N>
struct RouteList {
  uint ranks[N], experts[N];
};

// Carries the best of the elements from `end` on to that place.
template <int N>
GPU_FN void lift_best(THREAD RouteList<N>& list, int end) {
  UNROLL for (int i = N - 2; i >= end; i--) {
    const uint rank = list.ranks[i], expert = list.experts[i];
    const bool swaps = list.ranks[i + 1] > rank;
    list.ranks[i] = swaps ? list.ranks[i + 1] : rank;
    list.experts[i] = swaps ? list.experts[i + 1] : expert;
    list.ranks[i + 1] = swaps ? rank : list.ranks[i + 1];
    list.experts[i + 1] = swaps ? expert : list.experts[i + 1];
  }
}

// e^(logit - largest); NaN has no probability, as -infinity has none.
GPU_FN float route_mass(float logit, float largest) {
  return isnan(logit) ? 0.0f : exp(logit - largest);
}

GPU_FN float route_weight(float mass, float sum, float largest) {
  // Nothing has a probability, or one has all of it.
  if (isinf(largest)) return largest > 0.0f ? NAN : 0.0f;
  return sum == 0.0f ? 0.0f : mass / sum;
}

template <int kPerLane>
KERNEL(moe_route, IN(float, logits), IN(float, expert_scale), OUT(uint, ids), OUT(float, weights),
       PARAMS(GpuMoeRoute, p)) {
  await_inputs();
  constexpr bool kSorts = kPerLane <= 8;  // the whole list, so that the next one moves up
  const uint token = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (token >= p.tokens) return;
  DEVICE const float* row = logits + ulong(token) * p.experts;
  const ulong out = ulong(token) * p.top_k;

  float values[kPerLane];  // all are under way at once
  UNROLL for (int i = 0; i < kPerLane; i++) values[i] = row[min(LANE + 32 * i, p.experts - 1)];
  RouteList<kPerLane> list;
  UNROLL for (int i = 0; i < kPerLane; i++) {
    list.experts[i] = LANE + 32 * i;
    list.ranks[i] = list.experts[i] < p.experts ? rank_bits(values[i]) + 1 : 0;
  }
  UNROLL for (int i = 0; i < (kSorts ? kPerLane - 1 : 1); i++) lift_best(list, i);

  uint best = 0, first = 0, second = 0;  // ranks: the best, selections LANE and LANE + 32
  uint first_expert = 0, second_expert = 0;
  for (uint j = 0; j < p.top_k; j++) {
    uint rank = list.ranks[0], expert = list.experts[0];
    simd_best(&rank, &expert);
    if (expert == list.experts[0]) {
      list.ranks[0] = 0;
      if (kSorts) {
        UNROLL for (int i = 0; i + 1 < kPerLane; i++) {
          list.ranks[i] = list.ranks[i + 1];
          list.experts[i] = list.experts[i + 1];
        }
        list.ranks[kPerLane - 1] = 0;
      } else {
        lift_best(list, 0);
      }
    }
    if (j == 0) best = rank;
    if (j == LANE) {
      first = rank;
      first_expert = expert;
    }
    if (j == LANE + 32) {
      second = rank;
      second_expert = expert;
    }
  }

  const bool has_first = LANE < p.top_k, has_second = LANE + 32 < p.top_k;
  const float largest = best <= 1 ? -INFINITY : rank_value(best - 1);
  float first_mass = has_first ? route_mass(rank_value(first - 1), largest) : 0.0f;
  float second_mass = has_second ? route_mass(rank_value(second - 1), largest) : 0.0f;
  float part = first_mass + second_mass;
  if (p.expert_scale != 0) {
    if (has_first) first_mass = first_mass * expert_scale[first_expert];
    if (has_second) second_mass = second_mass * expert_scale[second_expert];
  }
  if (p.sum == kGpuRouteScaled) part = first_mass + second_mass;
  if (p.sum == kGpuRouteAll) {
    part = 0.0f;
    UNROLL for (int i = 0; i < kPerLane; i++) {
      if (LANE + 32 * i < p.experts) part = part + route_mass(values[i], largest);
    }
  }
  const float sum = simd_sum(part);
  if (has_first) {
    ids[out + LANE] = first_expert;
    weights[out + LANE] = route_weight(first_mass, sum, largest);
  }
  if (has_second) {
    ids[out + LANE + 32] = second_expert;
    weights[out + LANE + 32] = route_weight(second_mass, sum, largest);
  }
}

INSTANTIATE(moe_route_128, moe_route, 4)
INSTANTIATE(moe_route_256, moe_route, 8)
INSTANTIATE(moe_route_1024, moe_route, 32)

KERNELS_END
