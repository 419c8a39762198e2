// SPDX-License-Identifier: Apache-2.0
// The multiplications of cuda_wide.h by the matrix units of sm_90a, to the bits of those of
// mma.sync. A simdgroup has a panel and all tiles of x; four of them multiply together. While a
// block is multiplied, the sums of the one before are scaled and added and the next one is decoded.
#pragma once
#include "kernels/common/cuda_wgmma.h"
#include "kernels/matmul/cuda_wide_args.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

#if MLXN_WARPGROUPS

template <class Codec, int kTerms>
struct Warpgroups {
  const CudaMatmul& p;
  float* scales;
  const XTile<kTerms>* x_stages;
  const FedStream& x_stream;
  uint lane, warp;
  StreamPlace x_place = {};
  float totals[kXTiles][4] = {};

  GPU_FN float& total(int k) { return totals[k / 4][k % 4]; }

  // A span of the group's panels, which are at `spans`, times so many tiles of x.
  GPU_FN void multiply_span(uint span, const uchar* spans, uint tiles) {
    const uchar* const at = spans + warp * p.span_bytes;
    if constexpr (Codec::kTable) {
      __syncwarp();
      ScaleTable<Codec>::template put<4>(span_at(p, span, at), lane / kPanelRows * 4,
                                         span_blocks(p, span), lane % kPanelRows, own_scales());
      __syncwarp();
    }
    const uint head_bytes = span + 1 == p.spans ? p.last_head_bytes : p.head_bytes;
    const Span own{at, at + head_bytes, 0, p.group_shift, p.scale_type};
    if (tiles > kXTiles / 2) {
      multiply_tiles<kXTiles>(own, span_blocks(p, span));
    } else if (tiles > kXTiles / 4) {
      multiply_tiles<kXTiles / 2>(own, span_blocks(p, span));
    } else {
      multiply_tiles<kXTiles / 4>(own, span_blocks(p, span));
    }
  }

  // Stores sums of the slices, those that there are rows for.
  //   results f32 [kOwnTotals][kThreads]   out_rows [8 * kXTiles]
  GPU_FN void store(const float* results, uint first_panel, const uint* out_rows,
                    const Outs& outs) const {
    const bool gated = p.gated != kCudaNotGated;
    // Panels of gate and up are neighbours: each of their simdgroups stores every other tile.
    if (gated) asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
    const uint own_panel = gated ? warp / 2 * 2 : warp;
    const uint panel = first_panel + own_panel;
    if (panel >= p.panels) return;
    const PanelPlace place = place_of(p, panel);
    const float* const from = results + own_panel * 32 + lane;
#pragma unroll 1
    for (uint tile = gated ? warp % 2 : 0; tile < kXTiles; tile += gated ? 2 : 1) {
      const float* const sums = from + 4 * tile * kThreads;
      UNROLL for (int c = 0; c < 4; c++) {
        const uint out_row = out_rows[8 * tile + 2 * (lane % 4) + c % 2];
        if (out_row >= p.out_rows) continue;
        float sum = sums[c * kThreads];
        if (gated) sum = gated_product(p, sum, sums[c * kThreads + 32]);
        outs.store(p, out_row, place, result_row(lane / 4, c), sum);
      }
    }
  }

 private:
  // Blocks in a row without a branch, without which products would not overlap.
  static constexpr int kRun = 4;
  static constexpr int kHalves = Codec::kHalves;
  // Tiles are multiplied in so many parts, one after the other. Sums of two are in registers,
  // beside which scales of halves leave no room for those of all tiles.
  static constexpr int kParts = kHalves;

  // Scales and biases of a block, of which sums are still to come.
  struct Factors {
    float scale[2][kHalves], bias[2][kHalves];
    uint place;
    const XTile<kTerms>* x;

    GPU_FN void take(const WeightBlock<Codec>& w, uint at, const XTile<kTerms>* tiles) {
      UNROLL for (int r = 0; r < 2; r++) {
        UNROLL for (int h = 0; h < kHalves; h++) {
          scale[r][h] = w.scale[r][h];
          if (Codec::kBias) bias[r][h] = w.bias[r][h];
        }
      }
      place = at;
      x = tiles;
    }
  };

  GPU_FN float* own_scales() const { return scales + warp * ScaleTable<Codec>::kFloats; }

  // The blocks of a span times kTiles tiles of x.
  template <int kTiles>
  GPU_FN void multiply_tiles(const Span& span, uint blocks) {
    uint block = 0;
#pragma unroll 1
    for (; block + kRun <= blocks; block += kRun) multiply_run<kTiles, kRun>(span, block);
#pragma unroll 1
    for (; block < blocks; block++) multiply_run<kTiles, 1>(span, block);
  }

  // kBlocks blocks from `first` on.
  template <int kTiles, int kBlocks>
  GPU_FN void multiply_run(const Span& span, uint first) {
    constexpr int kPart = kTiles / kParts;
    float sums[2][kPart][4];  // of what was started last and before
    WeightBlock<Codec> w;
    Factors factors[2];  // of blocks in turn
    w.load(span, own_scales(), first, lane / 4, lane % 4);
    UNROLL for (int i = 0; i < kBlocks; i++) {
      x_stream.wait(x_place);
      Factors &own = factors[i % 2], &before = factors[1 - i % 2];
      own.take(w, x_place.at, x_stages + x_place.at * kXTiles);
      x_place.next(x_stream.places);
      UNROLL for (int h = 0; h < kHalves; h++) {
        UNROLL for (int part = 0; part < kParts; part++) {
          const int number = (i * kHalves + h) * kParts + part;
          start<kPart>(w, h, shared_address((own.x + part * kPart)->terms), sums[number % 2]);
          if (h + 1 == kHalves && part + 1 == kParts && i + 1 < kBlocks) {
            w.load(span, own_scales(), first + i + 1, lane / 4, lane % 4);
          }
          float(&last)[kPart][4] = sums[(number + 1) % 2];
          if (part > 0) {
            finish<1>(own, h, part - 1, last);
          } else if (h > 0) {
            finish<1>(own, h - 1, kParts - 1, last);
          } else if (i > 0) {
            finish<1>(before, kHalves - 1, kParts - 1, last);
          }
        }
      }
    }
    finish<0>(factors[(kBlocks - 1) % 2], kHalves - 1, kParts - 1,
              sums[(kBlocks * kHalves * kParts - 1) % 2]);
  }

  // Starts the products of a block, or of half h of it, with kTiles tiles of x.
  template <int kTiles>
  static GPU_FN void start(const WeightBlock<Codec>& w, int h, uint x_at,
                           float (&sums)[kTiles][4]) {
    constexpr int kSteps = 2 / kHalves;
    open_products();
    UNROLL for (int i = 0; i < kSteps; i++) {
      const int step = h * kSteps + i;
      const uint *row_g = w.codes[0] + 2 * step, *row_g8 = w.codes[1] + 2 * step;
      const uint a[4] = {row_g[0], row_g8[0], row_g[1], row_g8[1]};
      UNROLL for (int term = 0; term < kTerms; term++) {
        const ulong b = b_operand(x_at + 512 * term + 256 * step, 128, sizeof(XTile<kTerms>));
        if (i == 0 && term == 0) {
          multiply_together<false>(sums, a, b, bfloat());
        } else {
          multiply_together<true>(sums, a, b, bfloat());
        }
      }
    }
    close_products();
  }

  // Waits for all products but the last kLater, and adds those of part `part` of the tiles with a
  // block, or with half h of it.
  template <int kLater, int kPart>
  GPU_FN void finish(const Factors& factors, int h, int part, float (&sums)[kPart][4]) {
    wait_products<kLater>(sums);
    UNROLL for (int j = 0; j < kPart; j++) {
      const int tile = part * kPart + j;
      float2 x_sums = make_float2(0.0f, 0.0f);
      if (Codec::kBias) {
        x_sums = *reinterpret_cast<const float2*>(factors.x[tile].sums[kHalves - 1 + h] +
                                                  2 * (lane % 4));
      }
      UNROLL for (int k = 0; k < 4; k++) {
        float& total = totals[tile][k];
        total = fmaf(factors.scale[k / 2][h], sums[j][k], total);
        if (Codec::kBias) {
          total = fmaf(factors.bias[k / 2][h], k % 2 == 0 ? x_sums.x : x_sums.y, total);
        }
      }
    }
    if (h + 1 == kHalves && part + 1 == kParts) x_stream.release(factors.place);
  }
};

#endif

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
