// SPDX-License-Identifier: Apache-2.0
// The multiplications of cuda_wide.h by mma.sync, for GPUs other than sm_90a: a simdgroup has two
// panels, which it shares with its neighbour, and every other pair of tiles of x.
#pragma once
#include "kernels/matmul/cuda_wide_args.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

enum {
  kOwnPanels = 2,  // of a simdgroup; four simdgroups side by side along the weight rows,
  kOwnTiles = 8,   // two along the rows of x
  kTilesAtOnce = 2,
  kParts = kOwnTiles / kTilesAtOnce,
  kPanelTotals = kTilesAtOnce * 4  // from one panel to the next
};

// How many parts of its tiles a simdgroup multiplies; those of tiles that are not there are not
// stored.
template <int kTheCount>
struct Parts {
  static constexpr int kCount = kTheCount;
};

// What a lane holds of an XTile; sums if the codec has biases.
template <int kTerms, bool kSums, int kHalves>
GPU_FN void load_tile(const XTile<kTerms>& x, uint lane, Terms& terms, XSums<kHalves>& sums) {
  const uint4 high = *reinterpret_cast<const uint4*>(x.terms[0] + 4 * lane);
  terms.high[0] = high.x, terms.high[1] = high.y, terms.high[2] = high.z, terms.high[3] = high.w;
  if (kTerms == 2) {
    const uint4 low = *reinterpret_cast<const uint4*>(x.terms[kTerms - 1] + 4 * lane);
    terms.low[0] = low.x, terms.low[1] = low.y, terms.low[2] = low.z, terms.low[3] = low.w;
  }
  if constexpr (kSums) {
    UNROLL for (int h = 0; h < kHalves; h++) {
      const float* from = x.sums[kHalves - 1 + h] + 2 * (lane % 4);
      sums.of[h][0] = from[0];
      sums.of[h][1] = from[1];
    }
  }
}

template <class Codec, int kTerms>
struct Simds {
  const CudaMatmul& p;
  float* scales;
  const XTile<kTerms>* x_stages;
  const FedStream& x_stream;
  uint lane, warp;
  StreamPlace x_place = {};
  float totals[kParts][kOwnPanels][kTilesAtOnce][4] = {};

  GPU_FN float& total(int k) { return (&totals[0][0][0][0])[k]; }

  // Neighbours have the same panels: those that share a part of the compute unit do not.
  GPU_FN uint own_panel() const { return warp / 2 * kOwnPanels; }
  // Tiles of x take turns between the simdgroups along the rows, so that few are shared as well.
  GPU_FN uint own_tile(uint part) const { return (2 * part + warp % 2) * kTilesAtOnce; }

  // A span of the group's panels, which are at `spans`, times so many tiles of x.
  GPU_FN void multiply_span(uint span, const uchar* spans, uint tiles) {
    uint blocks = span_blocks(p, span), span_bytes = p.span_bytes;
    uint span_begin = own_panel() * span_bytes;
    uint head_bytes = span + 1 == p.spans ? p.last_head_bytes : p.head_bytes;
    keep(blocks), keep(span_bytes), keep(span_begin), keep(head_bytes);
    if constexpr (Codec::kTable) {
      const uint row = lane % kPanelRows, panel = lane / kPanelRows;
      pair_barrier();
      ScaleTable<Codec>::template put<4>(
          span_at(p, span, spans + span_begin + panel * span_bytes), warp % 2 * 4, blocks, row,
          scales + (own_panel() + panel) * ScaleTable<Codec>::kFloats);
      pair_barrier();
    }
    const auto multiply_block = [&](uint block, auto parts) {
      x_stream.wait(x_place);
      WeightBlock<Codec> w[kOwnPanels];
      UNROLL for (int i = 0; i < kOwnPanels; i++) {
        const uchar* const at = spans + span_begin + i * span_bytes;
        w[i].load(Span{at, at + head_bytes, 0, p.group_shift, p.scale_type},
                  scales + (own_panel() + i) * ScaleTable<Codec>::kFloats, block, lane / 4,
                  lane % 4);
      }
      // Without a condition between them, parts overlap.
      UNROLL for (int part = 0; part < decltype(parts)::kCount; part++) {
        Terms own[kTilesAtOnce];
        XSums<Codec::kHalves> sums[kTilesAtOnce];
        UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
          load_tile<kTerms, Codec::kBias>(x_stages[x_place.at * kXTiles + own_tile(part) + j], lane,
                                          own[j], sums[j]);
        }
        multiply<Codec, kTerms>(w, own, sums, totals[part]);
      }
      x_stream.release(x_place.at);
      x_place.next(x_stream.places);
    };
    if (tiles > kXTiles / 2 && blocks == kSpanBlocks) {
#pragma unroll 1
      for (uint i = 0; i < kSpanBlocks; i += 4) {
        UNROLL for (uint j = 0; j < 4; j++) multiply_block(i + j, Parts<kParts>());
      }
    } else {
#pragma unroll 1
      for (uint block = 0; block < blocks; block++) {
        if (tiles > kXTiles / 2) {
          multiply_block(block, Parts<kParts>());
        } else if (tiles > kXTiles / 4) {
          multiply_block(block, Parts<kParts / 2>());
        } else {
          multiply_block(block, Parts<kParts / 4>());
        }
      }
    }
  }

  // Stores sums of the slices, those that there are rows for.
  //   results f32 [kOwnTotals][kThreads]   out_rows [8 * kXTiles]
  GPU_FN void store(const float* results, uint first_panel, const uint* out_rows,
                    const Outs& outs) const {
#pragma unroll 1
    for (int i = 0; i < kOwnPanels; i++) {
      const uint panel = first_panel + own_panel() + i;
      // The panel of gate finds that of up behind it.
      if (panel >= p.panels || (p.gated != kCudaNotGated && i != 0)) break;
      const PanelPlace place = place_of(p, panel);
#pragma unroll 1
      for (int tile = 0; tile < kOwnTiles; tile++) {
        const int part = tile / kTilesAtOnce, j = tile % kTilesAtOnce;
        const uint column = 8 * (own_tile(part) + j) + 2 * (lane % 4);
        const float* const sums =
            results + ((part * kOwnPanels + i) * kTilesAtOnce + j) * 4 * kThreads + threadIdx.x;
        UNROLL for (int c = 0; c < 4; c++) {
          const uint out_row = out_rows[column + c % 2];
          if (out_row >= p.out_rows) continue;
          float sum = sums[c * kThreads];
          if (p.gated != kCudaNotGated) {
            sum = gated_product(p, sum, sums[(kPanelTotals + c) * kThreads]);
          }
          outs.store(p, out_row, place, result_row(lane / 4, c), sum);
        }
      }
    }
  }

 private:
  GPU_FN void pair_barrier() const {
    asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
  }
};

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
