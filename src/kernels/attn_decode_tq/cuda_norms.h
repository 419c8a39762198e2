// SPDX-License-Identifier: Apache-2.0
// What the CUDA kernels over codes share: their part of the work, and norms.
#pragma once
#include "kernels/attn_decode/cuda_join.h"
#include "kernels/attn_decode/cuda_keys.h"
#include "kernels/attn_decode/cuda_rules.h"
#include "kernels/attn_decode_tq/gpu_args.h"

GPU_LIBRARY_BEGIN

// The `heads` query heads of a threadgroup from first_head on, counted over the batch. Row of
// part_values: `row` + column * splits.
struct TqHeads {
  uint b, kv_head, heads;
  ulong first_head, row;

  GPU_FN explicit TqHeads(const GpuAttnDecodeTq& p) {
    const uint tile = blockIdx.y % p.tiles, group = p.num_heads / p.num_kv_heads;
    kv_head = blockIdx.y / p.tiles;
    b = blockIdx.z;
    heads = min(group - tile * kColumns, uint(kColumns));
    first_head = ulong(b) * p.num_heads + kv_head * group + tile * kColumns;
    row = first_head * p.splits + blockIdx.x;
  }
  // The elements of this lane of the query of head `head` of eight; 0 if there is no such head.
  template <int kDim>
  GPU_FN void load_query_of(uint head, const uchar* q, const GpuAttnDecodeTq& p, float* x) const {
    load_query<32>(q, (first_head + head) * kDim, p.query_type, head < heads ? kDim : 0, LANE,
                   p.vectors != 0, x);
  }
  // The KV head, counted over the batch.
  GPU_FN ulong kv_row(const GpuAttnDecodeTq& p) const {
    return ulong(b) * p.num_kv_heads + kv_head;
  }
  GPU_FN float slope(const float* slopes, uint column, const GpuAttnDecodeTq& p) const {
    return p.slopes != 0 && column < heads ? slopes[first_head % p.num_heads + column] : 0.0f;
  }
};

// The part of a threadgroup: positions [begin, end) for its heads.
struct TqPart : TqHeads {
  ulong first_row;  // of the sequence (or cache) and KV head
  HeldKeys held;
  uint begin, end;

  GPU_FN TqPart(const TqHeads& own, int length, int start, const GpuAttnDecodeTq& p)
      : TqHeads(own) {
    first_row = p.pages.size > 0 ? ulong(kv_head) * p.pages.size : kv_row(p) * p.capacity;
    held = held_keys(length, start, p.ring != 0, p.capacity);
    const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
    begin = keys.first + blockIdx.x * keys.keys_each;
    end = min(begin + keys.keys_each, keys.end);
  }
  // Of tiles of `keys` in turn, how many of `most` simdgroups, or teams of them, have one.
  GPU_FN uint busy(uint keys, uint most) const { return min(ceil_div(end - begin, keys), most); }
  GPU_FN KeyRows rows(const int* block_table, const GpuAttnDecodeTq& p) const {
    return {held,    begin,         end, p.capacity, block_table + ulong(b) * p.pages.per_sequence,
            p.pages, p.num_kv_heads};
  }
};

// What levels times a norm are multiplied by.
template <int kDim>
GPU_FN float norm_scale(const GpuTqTable& t) {
  return kDim == 512 ? 1.0f / t.scale_factor : rsqrtf(float(kDim));
}

// The norms of key LANE of a tile; 0 if it is not there.
template <int kNorms>
struct KeyNorms {
  float k[kNorms], v[kNorms];

  // first: of the tile.
  GPU_FN void load(const KeyRows& rows, uint first, const float* k_norms, const float* v_norms) {
    bool there;
    const uint row = rows.row(first + LANE, &there);
    UNROLL for (int n = 0; n < kNorms; n++) {
      k[n] = there ? k_norms[ulong(row) * kNorms + n] : 0.0f;
      v[n] = there ? v_norms[ulong(row) * kNorms + n] : 0.0f;
    }
  }
  // z = sum over the norms of score times norm of K; v_norm: of rows g and g + 8.
  template <int kTiles, int kRows>
  GPU_FN void apply(const float (&scores)[kNorms][kTiles][kRows], float (&z)[kTiles][kRows],
                    float (&v_norm)[kNorms][kTiles][2]) const {
    UNROLL for (int t = 0; t < kTiles; t++) {
      UNROLL for (int m = 0; m < 2; m++) {
        const uint key = 16 * t + 8 * m + LANE / 4;
        UNROLL for (int n = 0; n < kNorms; n++) {
          const float k_norm = __shfl_sync(~0u, k[n], key);
          v_norm[n][t][m] = __shfl_sync(~0u, v[n], key);
          UNROLL for (int e = 0; e < kRows / 2; e++) {
            const int i = kRows / 2 * m + e;
            z[t][i] = n == 0 ? scores[0][t][i] * k_norm : fmaf(scores[n][t][i], k_norm, z[t][i]);
          }
        }
      }
    }
  }
};

// Weights of a tile times the norms of V, as terms.
template <int kTiles, int kNorms, int kLaneHeads, int kSums>
GPU_FN void weigh_values(Softmax<kTiles, kLaneHeads>& softmax,
                         const float (&z)[kTiles][2 * kLaneHeads],
                         const float (&v_norm)[kNorms][kTiles][2],
                         WeightTerms<half, 2, kLaneHeads> (&weights)[kNorms][kTiles],
                         float (&sums)[kSums][4]) {
  constexpr int kRows = 2 * kLaneHeads;
  float w[kTiles][kRows], products[kTiles][kRows], factor[kTiles][2];
  UNROLL for (int t = 0; t < kTiles; t++) {
    UNROLL for (int m = 0; m < 2; m++) {
      factor[t][m] = kNorms == 1 ? v_norm[0][t][m]
                                 : fmaxf(fabsf(v_norm[0][t][m]), fabsf(v_norm[kNorms - 1][t][m]));
    }
  }
  softmax.weigh(z, factor, w, products, sums);
  UNROLL for (int t = 0; t < kTiles; t++) {
    UNROLL for (int n = 0; n < kNorms; n++) {
      if (kNorms > 1) {
        UNROLL for (int i = 0; i < kRows; i++) {
          products[t][i] = w[t][i] * v_norm[n][t][i / kLaneHeads];
        }
      }
      weights[n][t] = WeightTerms<half, 2, kLaneHeads>(products[t]);
    }
  }
}

// Rows of 64 bytes, two in the 128 that all banks hold. Keys g and pieces t of K, read 16 bytes at
// a time, and keys 2t and elements 16g of V, read 8 bytes at a time, meet in no bank.
struct CodePlace {
  static constexpr int kRowPitch = 64, kPeriod = 8;
  GPU_FN static uint at(uint row, uint piece) {
    return row / 2 * 128 + 16 * ((row % 2 * 4 + piece) ^ (row / 2 % 4 * 2));
  }
};

// Sums of kDim elements from `first` on, whose tile kTile + i has, of each run of kRun elements (of
// the eight of a unit), elements 2 i and the next one as rows g and g + 8.
template <int kDim, int kRun, int kTile = 0, class Sums, int kSums>
GPU_FN void put_spread_rows(const Sums& all, uint warp, uint first, const float (&sums)[kSums][4]) {
  constexpr int kPairs = kRun / 4;
  UNROLL for (uint e = 0; e < Sums::kHeads; e++) {
    float* const row = all.row(warp, e) + first + LANE / 4 * kRun;
    const auto sum = [&](int i, uint m) { return Sums::sum_of(sums[kTile + i], m, e); };
    if constexpr (kRun % 4 != 0) {
      UNROLL for (int i = 0; i < kDim / 16; i++) {
        *reinterpret_cast<float2*>(row + i / (kRun / 2) * 8 * kRun + i % (kRun / 2) * 2) =
            make_float2(sum(i, 0), sum(i, 1));
      }
    } else {
      UNROLL for (int i = 0; i < kDim / 32; i++) {  // four elements of two tiles
        *reinterpret_cast<float4*>(row + i / kPairs * 8 * kRun + i % kPairs * 4) =
            make_float4(sum(2 * i, 0), sum(2 * i, 1), sum(2 * i + 1, 0), sum(2 * i + 1, 1));
      }
    }
  }
}

GPU_LIBRARY_END
