// SPDX-License-Identifier: Apache-2.0
// From what the simdgroups of a part found to one row of sums per part and query head, and from
// those to the output.
#pragma once
#include "kernels/attn_decode/cuda_keys.h"
#include "kernels/attn_decode/cuda_weights.h"

GPU_LIBRARY_BEGIN

// The sums of the simdgroups in threadgroup memory, [simdgroup][column][dim], the rows a little
// apart, so that the lanes of a matrix product write to different banks.
template <int kDim, int kWarps, int kLaneHeads = 2>
struct PartSums {
  static constexpr int kRow = kDim + 4, kHeads = kLaneHeads;
  static constexpr int kBytes = kWarps * kColumns * kRow * 4;

  float* sums;
  float2 (*states)[kColumns];  // [simdgroup][column]: reference and total

  // The row of this lane's head e.
  GPU_FN float* row(uint warp, uint e) const {
    return sums + (warp * kColumns + LANE % 4 * kLaneHeads + e) * kRow;
  }
  // Row g + 8 m of a tile of a product, of this lane's head e.
  GPU_FN static float sum_of(const float* tile, uint m, uint e) {
    return kLaneHeads == 2 ? tile[2 * m + e] : tile[2 * m] + tile[2 * m + 1];
  }
  // Sums whose tile i has elements 16 i + g and 8 more as rows.
  GPU_FN void put_rows(uint warp, const float (&tiles)[kDim / 16][4]) const {
    UNROLL for (uint e = 0; e < kLaneHeads; e++) {
      float* const to = row(warp, e) + LANE / 4;
      UNROLL for (int i = 0; i < kDim / 16; i++) {
        to[16 * i] = sum_of(tiles[i], 0, e);
        to[16 * i + 8] = sum_of(tiles[i], 1, e);
      }
    }
  }
  template <class Softmax>
  GPU_FN void put_state(uint warp, const Softmax& softmax) const {
    if (LANE < kColumns / 2) {
      UNROLL for (uint e = 0; e < kLaneHeads; e++) {
        states[warp][kLaneHeads * LANE + e] = make_float2(softmax.reference[e], softmax.total[e]);
      }
    }
  }
  // Joins the simdgroups, after a barrier. Row `part` + column * splits of part_values and
  // part_states gets the sums times `scale`; the largest logit, to base 2, and the total.
  GPU_FN void join(uint columns, float scale, ulong part, uint splits, float* part_values,
                   float2* part_states) const {
    constexpr uint kVectors = kDim / 4;
#pragma unroll 2
    for (uint i = threadIdx.x; i < columns * kVectors; i += blockDim.x) {
      const uint column = i / kVectors, at = i % kVectors * 4;
      float2 state[kWarps];
      UNROLL for (int w = 0; w < kWarps; w++) state[w] = states[w][column];
      float most = Softmax<1>::kNone, total = 0.0f;
      UNROLL for (int w = 0; w < kWarps; w++) most = fmaxf(most, state[w].x);
      float4 element = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      UNROLL for (int w = 0; w < kWarps; w++) {  // one without keys: nothing, times 0
        const float factor = fast_exp2(state[w].x - most);
        total = fmaf(state[w].y, factor, total);
        const float4 sum =
            *reinterpret_cast<const float4*>(sums + (w * kColumns + column) * kRow + at);
        element = fma4(make_float4(factor, factor, factor, factor), sum, element);
      }
      const ulong row = part + column * splits;
      *reinterpret_cast<float4*>(part_values + row * kDim + at) = element * scale;
      if (at == 0) part_states[row] = make_float2(most, total);
    }
  }
};

// Of a part without keys.
GPU_FN void put_empty_part(uint columns, ulong part, uint splits, float2* part_states) {
  if (threadIdx.x < columns) {
    part_states[part + threadIdx.x * splits] = make_float2(Softmax<1>::kNone, 0.0f);
  }
}

// What up to kCount parts of a query head are multiplied by: lane l has those of parts l, l + 32,
// and l + 64. All lanes of a simdgroup call the members.
class PartFactors {
 public:
  static constexpr int kRegisters = 3, kCount = 32 * kRegisters;

  GPU_FN PartFactors(const float2* states, uint splits) {
    UNROLL for (int i = 0; i < kRegisters; i++) {
      const uint s = 32 * i + LANE;
      states_[i] = s < splits ? states[s] : make_float2(Softmax<1>::kNone, 0.0f);
    }
  }
  GPU_FN float largest() const {
    float most = Softmax<1>::kNone;
    UNROLL for (int i = 0; i < kRegisters; i++) most = fmaxf(most, states_[i].x);
    UNROLL for (int o = 16; o > 0; o /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
    return most;
  }
  // Makes factors of the logits; returns the total.
  GPU_FN float weigh(float most) {
    float total = 0.0f;
    UNROLL for (int i = 0; i < kRegisters; i++) {
      there_[i] = __ballot_sync(~0u, !(states_[i].x <= Softmax<1>::kNone));
      states_[i].x = fast_exp2(states_[i].x - most);
      total = fmaf(states_[i].x, states_[i].y, total);
    }
    UNROLL for (int o = 16; o > 0; o /= 2) total += __shfl_xor_sync(~0u, total, o);
    return total;
  }
  // Of part slice + i kSlices, slice < kSlices; false if it has no keys. For all lanes in the same
  // register.
  template <uint kSlices>
  GPU_FN bool of(uint slice, uint i, float* factor) const {
    static_assert(32 % kSlices == 0);
    const uint part = slice + i * kSlices, at = i * kSlices / 32;
    *factor = __shfl_sync(~0u, states_[at].x, part % 32);
    return (there_[at] >> part % 32 & 1) != 0;
  }

 private:
  float2 states_[kRegisters];
  uint there_[kRegisters];
};

// Elements of a query head out of its parts, by kMergeThreads threads. A thread has four elements
// of every kSlices-th part, a power of two, so that it is known which register has a part's factor.
enum { kMergeThreads = 256 };
template <int kDim>
struct PartMerge {
  static constexpr int kChunk = kDim <= 128 ? kDim : kDim % 128 == 0 ? 128 : kDim / 2;
  static constexpr uint kVectors = kChunk / 4, kSlices = kMergeThreads / kVectors < 16 ? 8 : 16;
  static constexpr int kStates = PartFactors::kCount;
  static constexpr int kAtOnce = (kStates + kSlices - 1) / kSlices;

  float4* partial;  // [kSlices][kVectors], in threadgroup memory

  // Of kChunk elements from `values` on; a barrier must follow. Returns the largest logit, to base
  // 2, and the total.
  GPU_FN float2 add(const float* values, const float2* states, uint splits) const {
    const uint slice = threadIdx.x / kVectors, at = threadIdx.x % kVectors;
    const uint end = slice < kSlices ? splits : 0;
    float4 part[kAtOnce];
    load(values, slice, at, end, part);
    PartFactors factors(states, splits);
    float most = factors.largest();
    for (uint first = kStates; first < splits; first += kStates) {
      most = fmaxf(most, PartFactors(states + first, splits - first).largest());
    }
    float total = factors.weigh(most);
    for (uint first = kStates; first < splits; first += kStates) {
      total += PartFactors(states + first, splits - first).weigh(most);
    }
    float4 element = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    add(part, slice, factors, element);
#pragma unroll 1
    for (uint first = kStates; first < splits; first += kStates) {
      factors = PartFactors(states + first, splits - first);
      factors.weigh(most);
      load(values + ulong(first) * kDim, slice, at, end > first ? end - first : 0, part);
      add(part, slice, factors, element);
    }
    if (slice < kSlices) partial[threadIdx.x] = element;
    return make_float2(most, total);
  }
  // Element `at` of the chunk, after the barrier.
  GPU_FN float element(uint at) const {
    float sum = 0.0f;
    UNROLL for (uint s = 0; s < kSlices; s++) {
      sum += reinterpret_cast<const float*>(partial)[s * kChunk + at];
    }
    return sum;
  }

 private:
  // Elements 4 at .. 4 at + 3 of parts slice, slice + kSlices, ... below `end`, asked for at once.
  // What a part without keys has is not looked at.
  GPU_FN static void load(const float* values, uint slice, uint at, uint end,
                          float4 (&part)[kAtOnce]) {
    UNROLL for (int i = 0; i < kAtOnce; i++) {
      const uint s = slice + i * kSlices;
      part[i] = s < end && s < kStates
                    ? reinterpret_cast<const float4*>(values + ulong(s) * kDim)[at]
                    : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
  }
  GPU_FN static void add(const float4 (&part)[kAtOnce], uint slice, const PartFactors& factors,
                         float4& element) {
    UNROLL for (int i = 0; i < kAtOnce; i++) {
      float factor = 0.0f;
      if (!factors.template of<kSlices>(slice, i, &factor)) continue;
      element = fma4(make_float4(factor, factor, factor, factor), part[i], element);
    }
  }
};

// The output of query head blockIdx.x, elements of chunk blockIdx.y; its log of the sum.
template <int kDim, class Args>
GPU_FN void merge_parts(const float* part_values, const float2* part_states, const float* sinks,
                        uchar* out, float* lse, const Args& p) {
  constexpr float kLn2 = 0.693147180559945f;
  constexpr uint kChunk = PartMerge<kDim>::kChunk;
  __shared__ float4 partial[kMergeThreads];
  const ulong head = blockIdx.x;
  const uint first = blockIdx.y * kChunk;
  const PartMerge<kDim> merge{partial};
  const float2 state = merge.add(part_values + head * p.splits * kDim + first,
                                 part_states + head * p.splits, p.splits);
  float most = state.x * kLn2, total = state.y, keep = 1.0f;
  if (p.sinks != 0) keep = join_sink(sinks[blockIdx.x % p.num_heads], &most, &total);
  const float scale = keep / total;
  __syncthreads();
  if (threadIdx.x < kChunk) {
    store_output(out, head * kDim + first + threadIdx.x, p.query_type,
                 total == 0.0f ? 0.0f : merge.element(threadIdx.x) * scale);
  }
  if (p.lse != 0 && first + threadIdx.x == 0) lse[head] = log_sum_exp(most, total);
}

GPU_LIBRARY_END
