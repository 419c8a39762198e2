// SPDX-License-Identifier: Apache-2.0
// One row of scores over one key tile, folded into a running softmax. Included once per Highway
// target, so the guard toggles.
#if defined(MLXN_KERNELS_COMMON_ATTN_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_COMMON_ATTN_SOFTMAX_INL_H_
#undef MLXN_KERNELS_COMMON_ATTN_SOFTMAX_INL_H_
#else
#define MLXN_KERNELS_COMMON_ATTN_SOFTMAX_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/common/attn_keys.h"
#include "kernels/common/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct ScoreRule {
  float scale;
  float cap;  // 0: off
};

// Running maximum and sum of one row.
struct RowState {
  float max = kAttnFloor;
  float sum = 0.0f;
};

// Lanes [lo, hi) of a tile are visible, less those whose hole[] is 0 if hole is not null, and those
// whose bias is -infinity.
struct TileVisible {
  int64_t lo;
  int64_t hi;
  const float* hole;            // [kAttnKeyTile]
  const float* bias = nullptr;  // [kAttnKeyTile], added to the scores; null: none
};

template <class D, class V>
HWY_INLINE V ScaleAndCap(D d, V s, const ScoreRule& rule) {
  const V z = hn::Mul(hn::Set(d, rule.scale), s);
  if (rule.cap == 0.0f) return z;
  const V cap = hn::Set(d, rule.cap);
  return hn::Mul(cap, Tanh(d, hn::Div(z, cap)));
}

// scores [kAttnKeyTile]: dot products in, logits out, -infinity where not visible. The
// lanes of the result have the largest of them and max_before.
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LogitTile(float* scores, const TileVisible& visible,
                                                     const ScoreRule& rule, float max_before) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto blocked = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto lo = hn::Set(d, static_cast<float>(visible.lo));
  const auto hi = hn::Set(d, static_cast<float>(visible.hi));
  const bool whole = visible.lo == 0 && visible.hi == kAttnKeyTile && visible.hole == nullptr;
  auto max = hn::Set(d, max_before);
  for (int64_t j = 0; j < kAttnKeyTile; j += lanes) {
    auto z = ScaleAndCap(d, hn::Load(d, scores + j), rule);
    if (visible.bias != nullptr) {
      const auto bias = hn::LoadU(d, visible.bias + j);
      z = hn::IfThenElse(hn::Eq(bias, blocked), blocked, hn::Add(z, bias));
    }
    if (!whole) {
      const auto index = hn::Iota(d, static_cast<float>(j));
      z = hn::IfThenElse(hn::And(hn::Ge(index, lo), hn::Lt(index, hi)), z, blocked);
      if (visible.hole != nullptr) {
        z = hn::IfThenElse(hn::Eq(hn::LoadU(d, visible.hole + j), hn::Zero(d)), blocked, z);
      }
    }
    hn::Store(z, d, scores + j);
    max = hn::Max(max, z);
  }
  return max;
}

// Logits in, weights exp(z - max) out. The lanes of the result have their sum.
HWY_INLINE hn::Vec<hn::ScalableTag<float>> WeightTile(float* scores, float max) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto vmax = hn::Set(d, max);
  auto sum = hn::Zero(d);
  for (int64_t j = 0; j < kAttnKeyTile; j += 4 * lanes) {
    hn::Vec<decltype(d)> w[4];
    for (int64_t i = 0; i < 4; ++i) w[i] = hn::Sub(hn::Load(d, scores + j + i * lanes), vmax);
    ExpAll(d, w);
    for (int64_t i = 0; i < 4; ++i) hn::Store(w[i], d, scores + j + i * lanes);
    sum = hn::Add(sum, hn::Add(hn::Add(w[0], w[1]), hn::Add(w[2], w[3])));
  }
  return sum;
}

// scores [kAttnKeyTile]: dot products in, weights exp(z - max) out, 0 where not visible. Returns
// the factor by which what was accumulated before must be scaled.
HWY_INLINE float SoftmaxTile(float* scores, const TileVisible& visible, const ScoreRule& rule,
                             RowState& state) {
  const hn::ScalableTag<float> d;
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, LogitTile(scores, visible, rule, state.max)));
  const float tile_sum = hn::GetLane(hn::SumOfLanes(d, WeightTile(scores, new_max)));
  const hn::CappedTag<float, 1> d1;
  // No branch for an unchanged maximum, whose factor is 1: it would often be foreseen wrongly.
  const float factor = hn::GetLane(Exp(d1, hn::Set(d1, state.max - new_max)));
  state.max = new_max;
  state.sum = state.sum * factor + tile_sum;
  return factor;
}

// A logit without a value joins a finished row. Returns the factor for the row's values.
HWY_INLINE float JoinSink(float sink, RowState& state) {
  const hn::CappedTag<float, 1> d;
  const float max = std::max(state.max, sink);
  const float factor = hn::GetLane(Exp(d, hn::Set(d, state.max - max)));
  state.sum = state.sum * factor + hn::GetLane(Exp(d, hn::Set(d, sink - max)));
  state.max = max;
  return factor;
}

// Log of the sum of exponentials of a finished row, -infinity if nothing was visible.
HWY_INLINE float LogSumExp(const RowState& state) {
  if (state.sum == 0.0f) return -std::numeric_limits<float>::infinity();
  return state.max + std::log(state.sum);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
