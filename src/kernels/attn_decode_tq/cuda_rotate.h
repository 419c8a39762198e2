// SPDX-License-Identifier: Apache-2.0
// Rotations of rows by simdgroups. Of queries lane l has elements 8 l .. 8 l + 7 and, of rows of
// 512, those 256 further. Rows of another number of elements are of two powers of two, the larger
// one first.
#pragma once
#include "kernels/attn_decode/cuda_join.h"
#include "kernels/attn_decode_tq/gpu_args.h"

GPU_LIBRARY_BEGIN

// The signs of a rotation, of this lane's elements, asked for before memory is busy: constants come
// the same way.
template <int kRuns>
class LaneSigns {
 public:
  // signs: bit e of the words for element e < dim.
  GPU_FN LaneSigns(const uint* signs, uint dim) {
    UNROLL for (int run = 0; run < kRuns; run++) {
      const uint e = 8 * (run * 32 + LANE);
      bits_[run] = e < dim ? signs[e / 32] >> e % 32 : 0;
      asm volatile("" : "+r"(bits_[run]));
    }
  }
  GPU_FN void apply(float* x) const {
    UNROLL for (int i = 0; i < 8 * kRuns; i++) {
      x[i] = __uint_as_float(__float_as_uint(x[i]) ^ (bits_[i / 8] >> i % 8) << 31);
    }
  }

 private:
  uint bits_[kRuns];
};

template <int kDim>
constexpr float kRotationScale = kDim == 16    ? 0.25f
                                 : kDim == 32  ? 0.176776695296637f
                                 : kDim == 64  ? 0.125f
                                 : kDim == 128 ? 0.0883883476483184f
                                 : kDim == 256 ? 0.0625f
                                               : 0.0441941738241592f;  // 1 / sqrt(kDim)

// The elements of the first power of two of a row of kDim; what is left of kDim is another one. The
// block of element e has the size of the highest bit in which e and kDim differ.
template <int kDim>
constexpr int kFirstPower = kDim % 5 == 0   ? kDim / 5 * 4
                            : kDim % 3 == 0 ? kDim / 3 * 2
                                            : kDim;

// x = H x, as fwht_elements() of gpu_tq.h, in less code.
template <int kDim>
GPU_FN void fwht_row(float* x) {
  constexpr int kFirst = kFirstPower<kDim>;
  constexpr int kElements = kDim == 512 ? 16 : 8, kLanes = kDim == 512 ? 32 : kFirst / 8;
  UNROLL for (int h = 1; h < 8; h *= 2) {
    UNROLL for (int i = 0; i < kElements; i++) {
      if ((i & h) != 0) continue;
      const float a = x[i], b = x[i + h];
      x[i] = a + b;
      x[i + h] = a - b;
    }
  }
#pragma unroll 1
  for (uint o = 1; o < kLanes; o *= 2) {
    const float sign = (LANE & o) != 0 ? -1.0f : 1.0f;
    UNROLL for (int i = 0; i < kElements; i++) {
      const float mixed = fmaf(sign, x[i], __shfl_xor_sync(~0u, x[i], o));
      x[i] = kFirst == kDim || (8 * LANE ^ kDim) >= 16 * o ? mixed : x[i];
    }
  }
  const float scale =
      kFirst == kDim || 8 * LANE < kFirst ? kRotationScale<kFirst> : kRotationScale<kDim - kFirst>;
  UNROLL for (int i = 0; i < 8; i++) {
    const float a = x[i], b = kDim == 512 ? x[i + 8] : 0.0f;
    x[i] = (a + b) * scale;
    if (kDim == 512) x[i + 8] = (a - b) * scale;
  }
}

// The signs of V's rotation in threadgroup memory, until a part has its sums.
template <int kDim>
GPU_FN void keep_signs(const GpuTqTable& t, uint* words) {
  if (threadIdx.x < (kDim + 31) / 32) words[threadIdx.x] = t.signs[threadIdx.x];
}

// A row of which lane l has elements 128 i + 4 l .. + 3 as x[4 i ..], so that lanes side by side
// have 16 bytes side by side: x = H x, the additions those of fwht_row().
template <int kDim>
GPU_FN void fwht_spread_row(float* x) {
  constexpr int kFirst = kFirstPower<kDim>;
  constexpr int kRuns = (kDim + 127) / 128, kLanes = kFirst < 128 ? kFirst / 4 : 32;
  const auto add = [&](int i, int j) {
    const float a = x[i], b = x[j];
    x[i] = a + b;
    x[j] = a - b;
  };
  UNROLL for (int run = 0; run < kRuns; run++) {
    UNROLL for (int i = 0; i < 2; i++) add(4 * run + 2 * i, 4 * run + 2 * i + 1);
    UNROLL for (int i = 0; i < 2; i++) add(4 * run + i, 4 * run + i + 2);
  }
#pragma unroll 1
  for (uint o = 1; o < kLanes; o *= 2) {
    const float sign = (LANE & o) != 0 ? -1.0f : 1.0f;
    UNROLL for (int i = 0; i < 4 * kRuns; i++) {
      const float mixed = fmaf(sign, x[i], __shfl_xor_sync(~0u, x[i], o));
      const uint e = i / 4 * 128 + 4 * LANE;
      x[i] = kFirst == kDim || (e ^ kDim) >= 8 * o ? mixed : x[i];
    }
  }
  if constexpr (kFirst == kDim) {
    UNROLL for (int h = 1; h < kRuns; h *= 2) {
      UNROLL for (int i = 0; i < 4 * kRuns; i++) {
        if ((i / 4 & h) == 0) add(i, i + 4 * h);
      }
    }
    UNROLL for (int i = 0; i < 4 * kRuns; i++) x[i] *= kRotationScale<kDim>;
  } else {
    UNROLL for (int i = 0; i < 4 * kRuns; i++) {
      const bool first = i / 4 * 128 + 4 * LANE < kFirst;
      x[i] *= first ? kRotationScale<kFirst> : kRotationScale<kDim - kFirst>;
    }
  }
}

// The sums of the first `teams` of up to kMost, those of a query head, times their factors: lane l
// gets elements 128 i + 4 l .. + 3 as x[4 i ..]. Returns the largest logit, to base 2, and the
// total.
template <int kMost, int kDim, int kTeams, int kLaneHeads, int kCount>
GPU_FN float2 add_teams(const PartSums<kDim, kTeams, kLaneHeads>& all, uint teams, uint column,
                        float (&x)[kCount]) {
  float2 states[kMost];
  float most = Softmax<1>::kNone, total = 0.0f;
  UNROLL for (uint w = 0; w < kMost; w++) {
    states[w] = all.states[w < teams ? w : 0][column];
    most = fmaxf(most, states[w].x);
  }
  const float* const rows = all.sums + column * PartSums<kDim, kTeams, kLaneHeads>::kRow + 4 * LANE;
  UNROLL for (int i = 0; i < kCount; i++) x[i] = 0.0f;
  UNROLL for (uint w = 0; w < kMost; w++) {
    if (w >= teams) break;
    const float factor = fast_exp2(states[w].x - most);
    total = fmaf(states[w].y, factor, total);
    UNROLL for (int run = 0; run < kCount / 4; run++) {
      if (kDim % 128 != 0 && run == kDim / 128 && 4 * LANE >= kDim % 128) break;
      const float4 sum = *reinterpret_cast<const float4*>(
          rows + w * kColumns * PartSums<kDim, kTeams, kLaneHeads>::kRow + 128 * run);
      float* const to = x + 4 * run;
      to[0] = fmaf(factor, sum.x, to[0]);
      to[1] = fmaf(factor, sum.y, to[1]);
      to[2] = fmaf(factor, sum.z, to[2]);
      to[3] = fmaf(factor, sum.w, to[3]);
    }
  }
  return make_float2(most, total);
}

// As PartSums::join of the first `teams`, which have keys; a simdgroup for each query head. Rows
// are rotated back by the rotation of `signs` on their way, if `back`.
template <int kDim, int kTeams, int kLaneHeads>
GPU_FN void join_rotated(const PartSums<kDim, kTeams, kLaneHeads>& all, uint teams, uint columns,
                         float scale, const uint* signs, bool back, ulong part, uint splits,
                         float* part_values, float2* part_states) {
  constexpr int kCount = (kDim + 127) / 128 * 4;
#pragma unroll 1
  for (uint column = warp_index(); column < columns; column += blockDim.x / 32) {
    float x[kCount];
    const float2 state =
        teams <= 2 ? add_teams<2>(all, teams, column, x) : add_teams<kTeams>(all, teams, column, x);
    UNROLL for (int i = 0; i < kCount; i++) x[i] *= scale;
    if (back) fwht_spread_row<kDim>(x);
    const ulong at_row = part + ulong(column) * splits;
    UNROLL for (int run = 0; run < kCount / 4; run++) {
      const uint at = 128 * run + 4 * LANE;
      if (kDim % 128 != 0 && at >= kDim) break;
      float* const v = x + 4 * run;
      if (back) {
        const uint bits = signs[at / 32] >> at % 32;
        UNROLL for (int i = 0; i < 4; i++) {
          v[i] = __uint_as_float(__float_as_uint(v[i]) ^ (bits >> i) << 31);
        }
      }
      *reinterpret_cast<float4*>(part_values + at_row * kDim + at) =
          make_float4(v[0], v[1], v[2], v[3]);
    }
    if (LANE == 0) part_states[at_row] = state;
  }
}

GPU_LIBRARY_END
