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

// Elements of a query head out of its parts, by kMergeThreads threads. A thread has four elements
// of every kSlices-th part.
enum { kMergeThreads = 256 };
template <int kDim>
struct PartMerge {
  static constexpr int kChunk = kDim <= 128 ? kDim : kDim % 128 == 0 ? 128 : kDim / 2;
  static constexpr uint kVectors = kChunk / 4, kSlices = kMergeThreads / kVectors;

  float4* partial;  // [kSlices][kVectors], in threadgroup memory

  // Of kChunk elements from `values` on; a barrier must follow. Returns the largest logit, to base
  // 2, and the total.
  GPU_FN float2 add(const float* values, const float2* states, uint splits) const {
    constexpr int kAtOnce = (66 + kSlices - 1) / kSlices;  // of up to 66 parts, then
    const uint slice = threadIdx.x / kVectors, at = threadIdx.x % kVectors;
    const bool has_slice = slice < kSlices;
    float4 part[kAtOnce];
    float reference[kAtOnce];
    // What a part without keys has for values is not looked at.
    const auto load = [&](uint first) {
      UNROLL for (int i = 0; i < kAtOnce; i++) {
        const uint s = first + i * kSlices;
        const bool there = has_slice && s < splits;
        reference[i] = there ? states[s].x : Softmax<1>::kNone;
        part[i] = there ? reinterpret_cast<const float4*>(values + ulong(s) * kDim)[at]
                        : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
    };
    load(slice);
    float most = Softmax<1>::kNone, total = 0.0f;
    for (uint s = LANE; s < splits; s += 32) most = fmaxf(most, states[s].x);
    UNROLL for (int o = 16; o > 0; o /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
    for (uint s = LANE; s < splits; s += 32) {
      total = fmaf(fast_exp2(states[s].x - most), states[s].y, total);
    }
    UNROLL for (int o = 16; o > 0; o /= 2) total += __shfl_xor_sync(~0u, total, o);

    float4 element = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 1
    for (uint first = slice; has_slice && first < splits; first += kAtOnce * kSlices) {
      if (first != slice) load(first);
      UNROLL for (int i = 0; i < kAtOnce; i++) {
        if (reference[i] <= Softmax<1>::kNone) continue;
        const float factor = fast_exp2(reference[i] - most);
        element = fma4(make_float4(factor, factor, factor, factor), part[i], element);
      }
    }
    if (has_slice) partial[threadIdx.x] = element;
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
