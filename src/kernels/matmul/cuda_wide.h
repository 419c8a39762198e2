// SPDX-License-Identifier: Apache-2.0
// matmul of many rows of x: a group multiplies 128 weight rows by up to 128 rows of x, which
// cuda_stage.cu has split into terms and, for experts, sorted. Eight simdgroups multiply and wait
// for data alone, so that those that share a part of the compute unit drift apart: one decodes
// while the other has the matrix unit. Another simdgroup copies, two spans of panels and four
// blocks of x ahead.
//   packed: panels of the weights   terms: XTile [blocks][tiles of 8 rows of x]
//   order: u32 [tiles][8]   row_tiles: CudaRowTile
//   residual, outs [out rows, rows]
#pragma once
#include "kernels/matmul/cuda_stage.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

enum {
  kSimds = 8,  // that multiply
  kThreads = 32 * kSimds,
  kAllThreads = kThreads + 128,  // registers are given and taken by four simdgroups
  kPanels = 8,                   // of a group
  kOwnPanels = 2,  // of a simdgroup; four simdgroups side by side along the weight rows,
  kOwnTiles = 8,   // two along the rows of x
  kXTiles = 16,
  kXStages = kSpanBlocks / 2,  // of a block
  kTilesAtOnce = 2,
  kParts = kOwnTiles / kTilesAtOnce,
  kPanelTotals = kTilesAtOnce * 4,  // from one panel to the next
  kOwnTotals = kOwnPanels * kOwnTiles * 4
};

// How many parts of its tiles a simdgroup multiplies; those of tiles that are not there are not
// stored.
template <int kTheCount>
struct Parts {
  static constexpr int kCount = kTheCount;
};

// What a lane holds of an XTile; sums if the codec has biases.
template <int kTerms, bool kSums, int kHalves>
GPU_FN void load_tile(const XTile& x, uint lane, Terms& terms, XSums<kHalves>& sums) {
  const uint4 high = *reinterpret_cast<const uint4*>(x.high[lane]);
  terms.high[0] = high.x, terms.high[1] = high.y, terms.high[2] = high.z, terms.high[3] = high.w;
  if (kTerms == 2) {
    const uint4 low = *reinterpret_cast<const uint4*>(x.low[lane]);
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
__global__ __launch_bounds__(kAllThreads, 1) void wide(const uchar* packed, const uchar* packed1,
                                                       const uchar* packed2, const XTile* terms,
                                                       const uint* order, const uint4* row_tiles,
                                                       const uchar* residual, uchar* out,
                                                       uchar* out1, uchar* out2,
                                                       const CudaMatmul p) {
  await_inputs();
  typedef ScaleTable<Codec> Scales;
  constexpr int kHalves = Codec::kHalves;
  extern __shared__ uint4 shared[];
  // Spans [2][kPanels], scales of one [kPanels], blocks of x [kXStages][kXTiles], sums of the
  // slices so far [kOwnTotals][kThreads].
  uchar* const spans = reinterpret_cast<uchar*>(shared);
  float* const scales = reinterpret_cast<float*>(spans + 2 * kPanels * p.span_bytes);
  XTile* const x_stages = reinterpret_cast<XTile*>(scales + kPanels * Scales::kFloats);
  float* const results = reinterpret_cast<float*>(x_stages + kXStages * kXTiles);
  uint lane = threadIdx.x % 32, warp = simd_broadcast(threadIdx.x / 32, 0);
  keep(lane);
  keep(warp);
  const uint g = lane / 4, t = lane % 4;
  // Neighbours have the same panels: those that share a part of the compute unit do not.
  const uint own_panel = warp / 2 * kOwnPanels;
  const uint all_blocks = p.cols / 32;
  // Tiles of x take turns between the simdgroups along the rows, so that few are shared as well.
  const auto own_tile = [&](uint part) { return (2 * part + warp % 2) * kTilesAtOnce; };

  // Groups of one tile of sorted rows run side by side, else groups of the same panels.
  const uint tile = p.sorted != 0 ? blockIdx.x / p.panel_groups : blockIdx.x % p.tiles;
  const uint first_panel =
      (p.sorted != 0 ? blockIdx.x % p.panel_groups : blockIdx.x / p.tiles) * kPanels;
  uint expert = 0, first_tile = tile * kXTiles, tiles = kXTiles;
  if (p.sorted == 0) {
    tiles = min(uint(kXTiles), (p.out_rows - 8 * first_tile + 7) / 8);
  } else {
    const uint4 rows = row_tiles[tile];
    expert = rows.x, first_tile = rows.y, tiles = rows.z;
    if (tiles == 0) return;
  }
  __shared__ uint out_rows[8 * kXTiles];
  for (uint i = threadIdx.x; i < 8 * kXTiles; i += kAllThreads) {
    out_rows[i] = i >= 8 * tiles  ? uint(kNoRow)
                  : p.sorted != 0 ? order[8 * first_tile + i]
                                  : 8 * first_tile + i;
  }
  const Outs outs{residual, out, out1, out2};
  if (expert >= p.experts) {
    __syncthreads();
    for (uint i = threadIdx.x; i < 8 * kXTiles * kPanels * kPanelRows; i += kAllThreads) {
      const uint panel = first_panel + i / kPanelRows % kPanels;
      const uint out_row = out_rows[i / kPanelRows / kPanels];
      if (panel < p.panels && out_row < p.out_rows) {
        outs.store(p, out_row, place_of(p, panel), i % kPanelRows, 0.0f);
      }
    }
    return;
  }

  __shared__ ulong barriers[2 * (2 + kXStages)];
  const FedStream<2> weight_stream(barriers);
  const FedStream<kXStages> x_stream(barriers + 4);
  if (threadIdx.x == 0) {
    weight_stream.init(kSimds);
    x_stream.init(kSimds);
  }
  __syncthreads();
  const PackedWeights weights{packed, packed1, packed2};
  if (warp >= kSimds) {
    give_registers<24>();
    if (warp > kSimds) return;
    const XTile* from = terms + first_tile;
    for (uint block = 0; block < all_blocks; block++, from += p.x_tiles) {
      if (block % kSpanBlocks == 0) {
        const uint span = block / kSpanBlocks, bytes = span_length(p, span);
        weight_stream.open(span, kPanels * bytes);
        for (uint i = 0; i < kPanels; i++) {
          const uint panel = min(first_panel + i, p.panels - 1);
          weight_stream.copy(span, spans + (span % 2 * kPanels + i) * p.span_bytes,
                             weights.panel_at(p, expert, panel) + ulong(span) * p.span_bytes,
                             bytes);
        }
        weight_stream.close(span);
      }
      x_stream.open(block, tiles * sizeof(XTile));
      x_stream.copy(block, x_stages + block % kXStages * kXTiles, from, tiles * sizeof(XTile));
      x_stream.close(block);
    }
    x_stream.finish();  // and of the weight stream
    return;
  }
  take_registers<240>();
  const auto pair_barrier = [&] {
    asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
  };
  float total[kParts][kOwnPanels][kTilesAtOnce][4] = {};
  uint slice = 0;
  bool first = true;
  for (uint span = 0; span < p.spans; span++) {
    uint blocks = span_blocks(p, span), span_bytes = p.span_bytes;
    uint span_begin = (span % 2 * kPanels + own_panel) * span_bytes;
    uint head_bytes = span + 1 == p.spans ? p.last_head_bytes : p.head_bytes;
    keep(blocks), keep(span_bytes), keep(span_begin), keep(head_bytes);
    weight_stream.wait(span % 2, span / 2);
    if constexpr (Codec::kTable) {
      const uint row = lane % kPanelRows, panel = lane / kPanelRows;
      pair_barrier();
      Scales::template put<4>(span_at(p, span, spans + span_begin + panel * span_bytes),
                              warp % 2 * 4, blocks, row,
                              scales + (own_panel + panel) * Scales::kFloats);
      pair_barrier();
    }
    // Block `block`, at `place` of x; a place takes items in turn.
    const auto multiply_block = [&](uint block, uint place, uint number, auto parts) {
      x_stream.wait(place, number);
      WeightBlock<Codec> w[kOwnPanels];
      UNROLL for (int i = 0; i < kOwnPanels; i++) {
        const uchar* const at = spans + span_begin + i * span_bytes;
        w[i].load(Span{at, at + head_bytes, 0, p.group_shift, p.scale_type},
                  scales + (own_panel + i) * Scales::kFloats, block, g, t);
      }
      // Without a condition between them, parts overlap.
      UNROLL for (int part = 0; part < decltype(parts)::kCount; part++) {
        Terms own[kTilesAtOnce];
        XSums<kHalves> sums[kTilesAtOnce];
        UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
          load_tile<kTerms, Codec::kBias>(x_stages[place * kXTiles + own_tile(part) + j], lane,
                                          own[j], sums[j]);
        }
        multiply<Codec, kTerms>(w, own, sums, total[part]);
      }
      x_stream.release(place, lane);
    };
    if (tiles > kXTiles / 2 && blocks == kSpanBlocks) {
#pragma unroll 1
      for (uint number = 0; number < 2; number++) {  // and even numbers before
        UNROLL for (uint place = 0; place < kXStages; place++) {
          multiply_block(kXStages * number + place, place, number, Parts<kParts>());
        }
      }
    } else {
#pragma unroll 1
      for (uint block = 0; block < blocks; block++) {
        const uint place = block % kXStages, number = block / kXStages;
        if (tiles > kXTiles / 2) {
          multiply_block(block, place, number, Parts<kParts>());
        } else if (tiles > kXTiles / 4) {
          multiply_block(block, place, number, Parts<kParts / 2>());
        } else {
          multiply_block(block, place, number, Parts<kParts / 4>());
        }
      }
    }
    weight_stream.release(span % 2, lane);
    // Slices without a span are no addends.
    while (slice < kCudaSlices && slice_begin(p.spans, slice + 1) <= span) slice++;
    if (slice_begin(p.spans, slice + 1) != span + 1) continue;
    UNROLL for (int k = 0; k < kOwnTotals; k++) {
      float& own = (&total[0][0][0][0])[k];
      float& sum = results[k * kThreads + threadIdx.x];
      sum = first ? own : sum + own;
      own = 0.0f;
    }
    first = false;
  }

#pragma unroll 1
  for (int i = 0; i < kOwnPanels; i++) {
    const uint panel = first_panel + own_panel + i;
    // The panel of gate finds that of up behind it.
    if (panel >= p.panels || (p.gated != kCudaNotGated && i != 0)) break;
    const PanelPlace place = place_of(p, panel);
#pragma unroll 1
    for (int tile = 0; tile < kOwnTiles; tile++) {
      const int part = tile / kTilesAtOnce, j = tile % kTilesAtOnce;
      const uint column = 8 * (own_tile(part) + j) + 2 * t;
      const float* const sums =
          results + ((part * kOwnPanels + i) * kTilesAtOnce + j) * 4 * kThreads + threadIdx.x;
      UNROLL for (int c = 0; c < 4; c++) {
        const uint out_row = out_rows[column + c % 2];
        if (out_row >= p.out_rows) continue;
        float sum = sums[c * kThreads];
        if (p.gated != kCudaNotGated) {
          sum = gated_product(p, sum, sums[(kPanelTotals + c) * kThreads]);
        }
        outs.store(p, out_row, place, result_row(g, c), sum);
      }
    }
  }
}

#define CUDA_WIDE(name, ...)                              \
  INSTANTIATE(matmul_wide_1_##name, wide, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_wide_2_##name, wide, __VA_ARGS__, 2)

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
