// SPDX-License-Identifier: Apache-2.0
// Rotations of rows of a power of two of elements by simdgroups, lane l of which has elements 8 l
// .. 8 l + 7 and, of rows of 512, those 256 further.
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

// x = H x of a row of a power of two of elements, as fwht_elements() of gpu_tq.h, in less code.
template <int kDim>
GPU_FN void fwht_row(float* x) {
  constexpr int kElements = kDim == 512 ? 16 : 8, kLanes = kDim == 512 ? 32 : kDim / 8;
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
      x[i] = fmaf(sign, x[i], __shfl_xor_sync(~0u, x[i], o));
    }
  }
  constexpr float kScale = kDim == 64    ? 0.125f
                           : kDim == 128 ? 0.0883883476483184f
                           : kDim == 256 ? 0.0625f
                                         : 0.0441941738241592f;  // 1 / sqrt(kDim)
  UNROLL for (int i = 0; i < 8; i++) {
    const float a = x[i], b = kDim == 512 ? x[i + 8] : 0.0f;
    x[i] = (a + b) * kScale;
    if (kDim == 512) x[i + 8] = (a - b) * kScale;
  }
}

// The signs of V's rotation in threadgroup memory, until a part has its sums.
template <int kDim>
GPU_FN void keep_signs(const GpuTqTable& t, uint* words) {
  if (threadIdx.x < kDim / 32) words[threadIdx.x] = t.signs[threadIdx.x];
}

// As PartSums::join, a simdgroup for each query head; rows are rotated back by the rotation of
// `signs` on their way, if `back`.
template <int kDim, int kTeams, int kLaneHeads>
GPU_FN void join_rotated(const PartSums<kDim, kTeams, kLaneHeads>& all, uint columns, float scale,
                         const uint* signs, bool back, ulong part, uint splits, float* part_values,
                         float2* part_states) {
  typedef PartSums<kDim, kTeams, kLaneHeads> Sums;
  constexpr int kRuns = kDim == 512 ? 2 : 1;
#pragma unroll 1
  for (uint column = warp_index(); column < columns; column += blockDim.x / 32) {
    float most = Softmax<1>::kNone, total = 0.0f;
    UNROLL for (int w = 0; w < kTeams; w++) most = fmaxf(most, all.states[w][column].x);
    float x[8 * kRuns] = {};
    UNROLL for (int w = 0; w < kTeams; w++) {  // one without keys: nothing, times 0
      const float2 state = all.states[w][column];
      const float factor = fast_exp2(state.x - most);
      total = fmaf(state.y, factor, total);
      const float* const row = all.sums + (w * kColumns + column) * Sums::kRow;
      UNROLL for (int i = 0; i < 2 * kRuns; i++) {
        const uint at = 8 * (i / 2 * 32 + LANE) + i % 2 * 4;
        if (at >= kDim) continue;
        const float4 sum = *reinterpret_cast<const float4*>(row + at);
        x[4 * i] = fmaf(factor, sum.x, x[4 * i]);
        x[4 * i + 1] = fmaf(factor, sum.y, x[4 * i + 1]);
        x[4 * i + 2] = fmaf(factor, sum.z, x[4 * i + 2]);
        x[4 * i + 3] = fmaf(factor, sum.w, x[4 * i + 3]);
      }
    }
    UNROLL for (int i = 0; i < 8 * kRuns; i++) x[i] *= scale;
    if (back) {
      fwht_row<kDim>(x);
      LaneSigns<kRuns>(signs, kDim).apply(x);
    }
    const ulong at_row = part + ulong(column) * splits;
    UNROLL for (int i = 0; i < 2 * kRuns; i++) {
      const uint at = 8 * (i / 2 * 32 + LANE) + i % 2 * 4;
      if (at >= kDim) continue;
      *reinterpret_cast<float4*>(part_values + at_row * kDim + at) =
          make_float4(x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]);
    }
    if (LANE == 0) part_states[at_row] = make_float2(most, total);
  }
}

GPU_LIBRARY_END
