// SPDX-License-Identifier: Apache-2.0
// moe_route: one simdgroup per token. A lane holds kPerLane logits as ranks; the best expert of all
// lanes is taken top_k times. Lane j then weighs the selections j and j + 32.
//   logits [tokens, experts]   expert_scale [experts]   ids, weights [tokens, top_k]
#include "kernels/common/gpu_rank.h"
#include "kernels/moe_route/gpu_args.h"

KERNELS_BEGIN(moe_route)

// e^(logit - largest); NaN has no probability, as -infinity has none.
GPU_FN float route_mass(float logit, float largest) {
  return isnan(logit) ? 0.0f : exp(logit - largest);
}

template <int kPerLane>
KERNEL(moe_route, IN(float, logits), IN(float, expert_scale), OUT(uint, ids), OUT(float, weights),
       PARAMS(GpuMoeRoute, p)) {
  await_inputs();
  const uint token = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (token >= p.tokens) return;
  DEVICE const float* row = logits + ulong(token) * p.experts;
  const ulong out = ulong(token) * p.top_k;

  // Ranks from 1 on; 0 is what is taken or beyond the last expert.
  uint ranks[kPerLane];
  UNROLL for (int i = 0; i < kPerLane; i++) {
    const uint expert = LANE + 32 * i;
    ranks[i] = expert < p.experts ? rank_bits(row[expert]) + 1 : 0;
  }
  uint first = 0, second = 0;  // experts selected as LANE-th and (LANE + 32)-th
  uint best_expert = 0;
  for (uint j = 0; j < p.top_k; j++) {
    uint rank = 0, expert = 0xffffffffu;
    UNROLL for (int i = 0; i < kPerLane; i++) {
      if (ranks[i] > rank) {
        rank = ranks[i];
        expert = LANE + 32 * i;
      }
    }
    simd_best(&rank, &expert);
    UNROLL for (int i = 0; i < kPerLane; i++) {
      if (expert == LANE + 32 * i) ranks[i] = 0;
    }
    if (j == 0) best_expert = expert;
    if (j == LANE) first = expert;
    if (j == LANE + 32) second = expert;
  }

  const bool has_first = LANE < p.top_k, has_second = LANE + 32 < p.top_k;
  const float largest = isnan(row[best_expert]) ? -INFINITY : row[best_expert];
  float first_weight = 0.0f, second_weight = 0.0f;
  if (isinf(largest)) {  // nothing has a probability, or one has all of it
    first_weight = second_weight = largest > 0.0f ? NAN : 0.0f;
  } else {
    if (has_first) first_weight = route_mass(row[first], largest);
    if (has_second) second_weight = route_mass(row[second], largest);
    const float selected = simd_sum(first_weight + second_weight);
    if (p.expert_scale != 0) {
      if (has_first) first_weight = first_weight * expert_scale[first];
      if (has_second) second_weight = second_weight * expert_scale[second];
    }
    float all = 0.0f;
    if (p.sum == kGpuRouteAll) {
      for (uint expert = LANE; expert < p.experts; expert += SIMD_WIDTH) {
        all = all + route_mass(row[expert], largest);
      }
    }
    const float scaled = simd_sum(first_weight + second_weight);
    const float sum = p.sum == kGpuRouteSelected ? selected
                      : p.sum == kGpuRouteScaled ? scaled
                                                 : simd_sum(all);
    first_weight = sum == 0.0f ? 0.0f : first_weight / sum;
    second_weight = sum == 0.0f ? 0.0f : second_weight / sum;
  }
  if (has_first) {
    ids[out + LANE] = first;
    weights[out + LANE] = first_weight;
  }
  if (has_second) {
    ids[out + LANE + 32] = second;
    weights[out + LANE + 32] = second_weight;
  }
}

INSTANTIATE(moe_route_128, moe_route, 4)
INSTANTIATE(moe_route_256, moe_route, 8)
INSTANTIATE(moe_route_1024, moe_route, 32)

KERNELS_END
