// SPDX-License-Identifier: Apache-2.0
// The softmax of a simdgroup over its tiles, in the registers of matrix products: rows are keys (g
// and g + 8 of each 16), columns query heads. Lane 4g + t has the kLaneHeads heads from kLaneHeads
// t on: two of eight, or, where columns 2t and 2t + 1 are two parts of the numbers of a head, one
// of four. Weights are 2^(z - reference), where the reference of a head moves only when a weight
// would leave what an f16 can hold: sums are then scaled, and otherwise nothing is.
#pragma once
#include "kernels/common/cuda_mma.h"

GPU_LIBRARY_BEGIN

enum { kColumns = 8 };  // query heads of a threadgroup

template <int kTiles, int kLaneHeads = 2>  // tiles of 16 keys
struct Softmax {
  static constexpr float kNone = -1e30f;        // below every logit
  static constexpr int kRows = 2 * kLaneHeads;  // numbers of a tile: heads of row g, then of g + 8

  float reference[kLaneHeads];
  float total[kLaneHeads];  // of this lane's keys

  GPU_FN Softmax() {
    UNROLL for (int e = 0; e < kLaneHeads; e++) reference[e] = kNone, total[e] = 0.0f;
  }
  // w = 2^(z - reference), products = w * factor, of rows g and g + 8: what becomes an f16.
  template <int kSums>
  GPU_FN void weigh(const float (&z)[kTiles][kRows], const float (&factor)[kTiles][2],
                    float (&w)[kTiles][kRows], float (&products)[kTiles][kRows],
                    float (&sums)[kSums][4]) {
    float next[kLaneHeads];
    if (exceeds(z, factor, w, products, next)) {
      UNROLL for (int e = 0; e < kLaneHeads; e++) move(z, factor, e, sums);
      exceeds(z, factor, w, products, next);
    }
    UNROLL for (int e = 0; e < kLaneHeads; e++) total[e] = next[e];
  }
  // Totals over the rows of all lanes.
  GPU_FN void finish() {
    UNROLL for (int e = 0; e < kLaneHeads; e++) {
      UNROLL for (int o = 4; o < 32; o *= 2) total[e] += __shfl_xor_sync(~0u, total[e], o);
    }
  }

 private:
  // After a move weights are at most 2^8, so that references seldom move again; f16 ends at 2^16.
  static constexpr float kLimit = 32768.0f, kTotalLimit = 1e30f;
  static constexpr float kRoomBits = 8.0f, kTotalBits = 60.0f;

  // next: the totals with these weights.
  GPU_FN bool exceeds(const float (&z)[kTiles][kRows], const float (&factor)[kTiles][2],
                      float (&w)[kTiles][kRows], float (&products)[kTiles][kRows],
                      float (&next)[kLaneHeads]) const {
    float largest = 0.0f;
    UNROLL for (int e = 0; e < kLaneHeads; e++) next[e] = total[e];
    UNROLL for (int k = 0; k < kTiles; k++) {
      UNROLL for (int i = 0; i < kRows; i++) {
        w[k][i] = fast_exp2(z[k][i] - reference[i % kLaneHeads]);
        next[i % kLaneHeads] += w[k][i];
        products[k][i] = w[k][i] * factor[k][i / kLaneHeads];
        largest = fmaxf(largest, fabsf(products[k][i]));
      }
    }
    const float most = fmaxf(next[0], next[kLaneHeads - 1]);
    return __any_sync(~0u, largest > kLimit || most > kTotalLimit);
  }
  template <int kSums>
  GPU_FN void move(const float (&z)[kTiles][kRows], const float (&factor)[kTiles][2], int e,
                   float (&sums)[kSums][4]) {
    float next = kNone;
    UNROLL for (int k = 0; k < kTiles; k++) {
      UNROLL for (int m = 0; m < 2; m++) {
        const float logit = z[k][kLaneHeads * m + e];
        next = fmaxf(next,
                     fmaxf(logit - kTotalBits, logit - kRoomBits + fast_log2(fabsf(factor[k][m]))));
      }
    }
    UNROLL for (int o = 4; o < 32; o *= 2) next = fmaxf(next, __shfl_xor_sync(~0u, next, o));
    next = fmaxf(next, reference[e]);
    const float keep = fast_exp2(reference[e] - next);
    reference[e] = next;
    total[e] *= keep;
    UNROLL for (int i = 0; i < kSums; i++) {
      UNROLL for (int c = e; c < 4; c += kLaneHeads) sums[i][c] *= keep;
    }
  }
};

// A lane's words of kCount operands b in threadgroup memory, [operand][lane], kept in registers or
// read again each time.
template <int kCount, bool kInRegisters>
class HeldOperands {
 public:
  GPU_FN explicit HeldOperands(const uint2* operands) : operands_(operands + LANE) {
    if constexpr (kInRegisters) {
      UNROLL for (int i = 0; i < kCount; i++) held_[i] = operands_[32 * i];
    }
  }
  GPU_FN uint2 get(int i) const {
    if constexpr (kInRegisters) return held_[i];
    return operands_[32 * i];
  }

 private:
  const uint2* operands_;
  uint2 held_[kInRegisters ? kCount : 1];
};

// kTerms 16-bit terms of weights, as operands b of products over 16 keys: an operand a term or, of
// lanes with one head, two terms as neighbouring columns of one.
template <typename T, int kTerms, int kLaneHeads = 2>
struct WeightTerms {
  static constexpr int kOperands = kTerms;
  uint b[kOperands][2];

  WeightTerms() = default;

  // w: rows g and g + 8 of columns 2t and 2t + 1.
  GPU_FN explicit WeightTerms(const float* w) {
    UNROLL for (int m = 0; m < 2; m++) {
      float x = w[2 * m], y = w[2 * m + 1];
      UNROLL for (int i = 0; i < kTerms; i++) {
        const uint pair = pack2(x, y, T());
        const float2 taken = unpack2(pair, T());
        x -= taken.x;
        y -= taken.y;
        b[i][m] = transpose(pair);
      }
    }
  }
};
template <typename T>
struct WeightTerms<T, 2, 1> {
  static constexpr int kOperands = 1;
  uint b[kOperands][2];

  WeightTerms() = default;

  // w: rows g and g + 8 of head t.
  GPU_FN explicit WeightTerms(const float* w) {
    UNROLL for (int m = 0; m < 2; m++) {
      const float taken = unpack2(pack2(w[m], 0.0f, T()), T()).x;
      b[0][m] = transpose(pack2(w[m], w[m] - taken, T()));
    }
  }
};

GPU_LIBRARY_END
