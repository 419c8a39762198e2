// SPDX-License-Identifier: Apache-2.0
// Scale, soft cap, slopes and what is not there, of scores in the registers of matrix products
// (cuda_weights.h).
#pragma once
#include "kernels/common/gpu.h"

GPU_LIBRARY_BEGIN

constexpr float kLog2E = 1.44269504088896f;

// The key of a tile that is row g or g + 8 of a product over the k-th 16 of its keys.
struct KeysInOrder {
  GPU_FN static uint key(int k, int m) { return 16 * k + 8 * m + LANE / 4; }
};

// What becomes of a score on its way to a logit in base 2. kPlain: there is neither cap nor slopes.
template <bool kPlain, int kLaneHeads = 2>
struct LogitRules {
  static constexpr int kRows = 2 * kLaneHeads;
  float scale[kLaneHeads];  // of this lane's heads; of plain rules times log2(e)
  float slope[kLaneHeads];  // likewise; 0 for none
  float cap;                // 0: none
  uint last;                // position of the query

  // z: kTiles times 16 keys from position `first` on. there: bit i for key first + i.
  template <class Order = KeysInOrder, int kTiles>
  GPU_FN void apply(float (&z)[kTiles][kRows], uint first, uint there) const {
    UNROLL for (int k = 0; k < kTiles; k++) {
      UNROLL for (int i = 0; i < kRows; i++) {
        const uint key = Order::key(k, i / kLaneHeads);
        float logit = z[k][i] * scale[i % kLaneHeads];
        if constexpr (!kPlain) {
          if (cap > 0.0f) logit = cap * tanhf(logit / cap);
          logit += slope[i % kLaneHeads] * float(int(first + key - last));
          logit *= kLog2E;
        }
        z[k][i] = logit;
      }
    }
    if (there == ~0u) return;
    UNROLL for (int k = 0; k < kTiles; k++) {
      UNROLL for (int i = 0; i < kRows; i++) {
        const uint key = Order::key(k, i / kLaneHeads);
        if ((there >> key & 1) == 0) z[k][i] = -INFINITY;
      }
    }
  }
};

GPU_LIBRARY_END
