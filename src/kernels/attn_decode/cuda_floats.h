// SPDX-License-Identifier: Apache-2.0
// attn_decode over f16 or bf16 keys and values on matrix units. The cache is the wide operand of
// both products and the query heads of a KV head are the eight columns of the narrow one,
//   scores[key][head] = K q^T      out[element][head] += V^T weights
// so a row is read once for all of them and no row of the multiplication is wasted. Queries and
// weights enter as kTerms 16-bit terms: products are exact, sums are f32. Of up to four query heads
// two terms are columns of one product.
//   Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_decode/cuda_join.h"
#include "kernels/attn_decode/cuda_keys.h"
#include "kernels/attn_decode/cuda_plan.h"
#include "kernels/attn_decode/cuda_rules.h"
#include "kernels/attn_decode/gpu_args.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_mma {

enum { kKeys = 16, kWarps = kColumns, kStages = 4 };  // a simdgroup prepares a query

template <typename T>
struct Element;
// Queries are scaled by a power of two to at most 2^14, so that their second term is a normal f16.
template <>
struct Element<half> {
  static constexpr int kTerms = 2;
  static constexpr uint kTopExponent = 127 + 13;
  GPU_FN static void mma(float* c, const uint* a, uint b0, uint b1) {
    mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
  }
};
template <>
struct Element<bfloat> {
  static constexpr int kTerms = 3;
  static constexpr uint kTopExponent = 127 + 13;
  GPU_FN static void mma(float* c, const uint* a, uint b0, uint b1) {
    mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
  }
};

// A piece of 16 bytes of a row of up to 256: the eight rows of a matrix differ in the low bits.
template <int kRowBytes>
struct RowPlace {
  static constexpr int kRowPitch = kRowBytes <= 128 ? 128 : 256, kPeriod = 8;
  GPU_FN static uint at(uint row, uint piece) { return row * kRowPitch + 16 * (piece ^ (row & 7)); }
};

template <typename T, int kDim, int kHeadsOfLane = 2>
struct Shape {
  static constexpr int kLaneHeads = kHeadsOfLane, kRows = 2 * kLaneHeads;
  static constexpr int kTerms = Element<T>::kTerms;
  static constexpr int kUnits = kDim <= 128 ? 1 : kDim <= 256 ? 2 : 4, kUnitDim = kDim / kUnits;
  static constexpr int kSteps = kDim / 16, kUnitSteps = kUnitDim / 16;
  typedef RowPlace<2 * kUnitDim> Place;
  typedef UnitStream<kKeys, 2 * kDim, kUnits, kStages, Place> Stream;
  typedef PartSums<kDim, kWarps, kLaneHeads> Sums;
  typedef WeightTerms<T, kTerms, kLaneHeads> Weights;
  static constexpr int kOperands = Weights::kOperands;  // of a step of either product
  static constexpr int kQueryBytes = kOperands * kSteps * 32 * 8;
  static constexpr int kRingBytes = Stream::kBytes;  // of a simdgroup
  static constexpr int kWorkBytes =
      kWarps * kRingBytes > Sums::kBytes ? kWarps* kRingBytes : Sums::kBytes;
  static_assert(kQueryBytes + kWorkBytes <= kernels::decode_plan::memory(kDim, kTerms));
  static constexpr bool kQueryInRegisters = kOperands * kDim <= 768;  // a register per 8 elements
};

// Where element e of a query is, in words from its head's first: words 2t and 2t + 1 of step s have
// elements 16 s + 2t, .. + 1 and .. + 8, .. + 9.
struct RowOrder {
  GPU_FN static uint word(uint e) { return e / 16 * 64 + e % 8 / 2 * 2 + e / 8 % 2; }
};

// Operands b of the scores: terms of the query of head `head`, whose elements this simdgroup holds
// in x as load_query() gives them, [operand][step][lane] of two words. A term is column `head` of
// an operand, or column 2 head + term of the only one. factors[head] undoes their scaling.
template <typename T, int kDim, class Order = RowOrder, int kLaneHeads = 2>
GPU_FN void put_query(const float* x, uint head, uint2* terms, float* factors) {
  typedef Shape<T, kDim, kLaneHeads> S;
  uint* const words = reinterpret_cast<uint*>(terms);
  float largest = 0.0f;
  UNROLL for (int i = 0; i < kRowElements; i++) largest = fmaxf(largest, fabsf(x[i]));
  const uint exponent = max(__reduce_max_sync(~0u, __float_as_uint(largest)) >> 23,
                            uint(Element<T>::kTopExponent - 126));
  const float scale = __uint_as_float((Element<T>::kTopExponent + 127 - exponent) << 23);
  if (LANE == 0) {
    factors[head] = __uint_as_float((exponent + 127 - Element<T>::kTopExponent) << 23);
  }
  UNROLL for (int run = 0; run < 2; run++) {
    const uint at = 8 * (run * 32 + LANE);
    if (at >= kDim) continue;
    UNROLL for (uint j = 0; j < 4; j++) {
      float a = x[8 * run + 2 * j] * scale, b = x[8 * run + 2 * j + 1] * scale;
      UNROLL for (int term = 0; term < S::kTerms; term++) {
        const uint pair = pack2(a, b, T());
        const float2 taken = unpack2(pair, T());
        a -= taken.x;
        b -= taken.y;
        const uint operand = S::kOperands == S::kTerms ? term : 0;
        const uint column = S::kOperands == S::kTerms ? head : 2 * head + term;
        words[operand * S::kSteps * 64 + column * 8 + Order::word(at + 2 * j)] = pair;
      }
    }
  }
}

template <class S>
using Queries = HeldOperands<S::kOperands * S::kSteps, S::kQueryInRegisters>;

// z = K q^T over the units of K, which the stream gives next.
template <typename T, class S>
GPU_FN void score_keys(typename S::Stream& stream, const Queries<S>& queries,
                       float (&z)[S::kRows]) {
  float sums[S::kOperands][4] = {};
  const uint row = LANE % 16;  // of matrices 0 and 2, 1 and 3
  each_unit<0, S::kUnits>([&](auto index) {
    constexpr int unit = decltype(index)::kValue;
    const uint at = stream.wait();
    UNROLL for (int step = 0; step < S::kUnitSteps; step++) {
      uint a[4];
      load_matrices(at + S::Place::at(row, 2 * step + LANE / 16), a);
      UNROLL for (int i = 0; i < S::kOperands; i++) {
        const uint2 b = queries.get(i * S::kSteps + unit * S::kUnitSteps + step);
        Element<T>::mma(sums[i], a, b.x, b.y);
      }
    }
    stream.next(unit);
  });
  UNROLL for (int i = 0; i < S::kRows; i++) {
    if constexpr (S::kLaneHeads == 1) {
      z[i] = sums[0][2 * i + 1] + sums[0][2 * i];
    } else {
      z[i] = sums[S::kTerms - 1][i];
      UNROLL for (int term = S::kTerms - 2; term >= 0; term--) z[i] += sums[term][i];
    }
  }
}

// sums[element / 16] += V^T weights over the units of V.
template <typename T, class S>
GPU_FN void add_values(typename S::Stream& stream, const typename S::Weights& weights,
                       float (&sums)[S::kSteps][4]) {
  const uint row = LANE % 8 + LANE / 16 * 8;  // of matrices 0 and 1, 2 and 3
  each_unit<0, S::kUnits>([&](auto index) {
    constexpr int unit = decltype(index)::kValue;
    const uint at = stream.wait();
    UNROLL for (int step = 0; step < S::kUnitSteps; step++) {
      uint a[4];
      load_transposed(at + S::Place::at(row, 2 * step + LANE / 8 % 2), a);
      UNROLL for (int i = 0; i < S::kOperands; i++) {
        Element<T>::mma(sums[unit * S::kUnitSteps + step], a, weights.b[i][0], weights.b[i][1]);
      }
    }
    stream.next(S::kUnits + unit);
  });
}

// Grid: parts; KV heads and tiles of their query heads; sequences.
template <typename T, int kDim, bool kPlain, int kLaneHeads>
__global__ __launch_bounds__(32 * kWarps,
                             1) void attn_decode_mma(const uchar* q, const uchar* k, const uchar* v,
                                                     const int* kv_len, const int* ring_start,
                                                     const int* block_table, const float* slopes,
                                                     float* part_values, float2* part_states,
                                                     const GpuAttnDecode p) {
  typedef Shape<T, kDim, kLaneHeads> S;
  extern __shared__ uint4 shared[];
  __shared__ float factors[kColumns];
  __shared__ float2 states[kWarps][kColumns];
  const uint split = blockIdx.x, kv_head = blockIdx.y / p.tiles, tile = blockIdx.y % p.tiles;
  const uint b = blockIdx.z, kv_row = b * p.num_kv_heads + kv_head;
  const uint group = p.num_heads / p.num_kv_heads;
  const uint heads = min(group - tile * kColumns, uint(kColumns));
  const uint first_head = kv_head * group + tile * kColumns;
  if (threadIdx.x == 32 * (kWarps - 1)) {
    prefetch_part(b, kv_row, k, v, 2 * kDim, 2 * kDim, nullptr, nullptr, 0, kv_len, ring_start, p);
  }
  await_inputs();
  // The length and the query are asked for together.
  const int length = kv_len[b], start = p.ring_start != 0 ? ring_start[b] : 0;
  const uint warp = warp_index();
  float x[kRowElements];
  load_query<32>(q, (ulong(b) * p.num_heads + first_head + warp) * kDim, p.query_type,
                 warp < heads ? kDim : 0, LANE, p.vectors != 0, x);
  const HeldKeys held = held_keys(length, start, p.ring != 0, p.capacity);
  const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
  const uint begin = keys.first + split * keys.keys_each;
  const uint end = min(begin + keys.keys_each, keys.end);
  const ulong part = (ulong(b) * p.num_heads + first_head) * p.splits + split;
  if (begin >= end) return put_empty_part(heads, part, p.splits, part_states);

  uint2* const terms = reinterpret_cast<uint2*>(shared);
  uchar* const work = reinterpret_cast<uchar*>(shared) + S::kQueryBytes;
  const uint first = begin + warp * kKeys, step = kWarps * kKeys;
  const KeyRows rows(held, begin, end, p.capacity, block_table + ulong(b) * p.pages.per_sequence,
                     p.pages, p.num_kv_heads);
  const ulong base =
      2 * kDim * (p.pages.size > 0 ? ulong(kv_head) * p.pages.size : ulong(kv_row) * p.capacity);
  typename S::Stream stream(rows, k + base, v + base, shared_address(work) + warp * S::kRingBytes,
                            first, step);
  if (warp < 4 * kLaneHeads) put_query<T, kDim, RowOrder, kLaneHeads>(x, warp, terms, factors);
  __syncthreads();
  const Queries<S> queries(terms);
  LogitRules<kPlain, kLaneHeads> rules;
  UNROLL for (uint e = 0; e < kLaneHeads; e++) {
    const uint column = LANE % 4 * kLaneHeads + e;
    rules.scale[e] = factors[column] * p.softmax_scale * (kPlain ? kLog2E : 1.0f);
    rules.slope[e] = p.slopes != 0 && column < heads ? slopes[first_head + column] : 0.0f;
  }
  rules.cap = p.logits_soft_cap;
  rules.last = held.end - 1;

  Softmax<1, kLaneHeads> softmax;
  float sums[S::kSteps][4];
  UNROLL for (int i = 0; i < S::kSteps; i++) {
    UNROLL for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
  }
  constexpr float kOne[1][2] = {{1.0f, 1.0f}};
  for (uint at = first; at < end; at += step) {
    float z[1][S::kRows], w[1][S::kRows], products[1][S::kRows];
    score_keys<T, S>(stream, queries, z[0]);
    rules.apply(z, at, rows.there<kKeys>(at));
    softmax.weigh(z, kOne, w, products, sums);
    add_values<T, S>(stream, typename S::Weights(w[0]), sums);
  }
  softmax.finish();

  wait_copies<0>();
  __syncthreads();  // rings become sums
  const typename S::Sums all{reinterpret_cast<float*>(work), states};
  all.put_rows(warp, sums);
  all.put_state(warp, softmax);
  __syncthreads();
  all.join(heads, 1.0f, part, p.splits, part_values, part_states);
}

// Grid: query heads; chunks of their rows.
template <int kDim>
__global__ __launch_bounds__(kMergeThreads) void attn_decode_mma_merge(const float* part_values,
                                                                       const float2* part_states,
                                                                       const float* sinks,
                                                                       uchar* out, float* lse,
                                                                       const GpuAttnDecode p) {
  await_inputs();
  merge_parts<kDim>(part_values, part_states, sinks, out, lse, p);
}

}  // namespace kernels_attn_decode_mma
}  // namespace gpu
}  // namespace mlxn
