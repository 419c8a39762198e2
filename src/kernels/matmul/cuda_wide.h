// SPDX-License-Identifier: Apache-2.0
// matmul of many rows of x: a group multiplies 128 weight rows by up to 128 rows of x, which
// cuda_stage.cu has split into terms and, for experts, sorted. Eight simdgroups multiply and wait
// for data alone, so that those that share a part of the compute unit drift apart: one decodes
// while the other has the matrix unit. Another simdgroup copies, two spans of panels and
// p.x_stages blocks of x ahead.
//   packed: panels of the weights   terms: XTile<kTerms> [blocks][tiles of 8 rows of x]
//   order: u32 [tiles][8]   row_tiles: CudaRowTile
//   residual, outs [out rows, rows]
#pragma once
#include "kernels/matmul/cuda_wide_simds.h"
#include "kernels/matmul/cuda_wide_warpgroups.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

#if MLXN_WARPGROUPS
template <class Codec, int kTerms>
using Multiplier = Warpgroups<Codec, kTerms>;
#else
template <class Codec, int kTerms>
using Multiplier = Simds<Codec, kTerms>;
#endif

template <class Codec, int kTerms>
__global__ __launch_bounds__(kAllThreads,
                             1) void wide(const uchar* packed, const uchar* packed1,
                                          const uchar* packed2, const XTile<kTerms>* terms,
                                          const uint* order, const uint4* row_tiles,
                                          const uchar* residual, uchar* out, uchar* out1,
                                          uchar* out2, const CudaMatmul p) {
  await_inputs();
  extern __shared__ __align__(128) uint4 shared[];  // bulk copies write whole lines of it
  // Spans [kSpanStages][kPanels], scales of one [kPanels], blocks of x [x_stages][kXTiles], sums of
  // the slices so far [kOwnTotals][kThreads].
  uchar* const spans = reinterpret_cast<uchar*>(shared);
  float* const scales = reinterpret_cast<float*>(spans + kSpanStages * kPanels * p.span_bytes);
  typedef XTile<kTerms> Tile;
  Tile* const x_stages = reinterpret_cast<Tile*>(scales + kPanels * ScaleTable<Codec>::kFloats);
  float* const results = reinterpret_cast<float*>(x_stages + p.x_stages * kXTiles);
  uint lane = threadIdx.x % 32, warp = simd_broadcast(threadIdx.x / 32, 0);
  keep(lane);
  keep(warp);
  const uint all_blocks = p.cols / 32;

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

  __shared__ ulong barriers[2 * (kSpanStages + kMostXStages)];
  const FedStream weight_stream(barriers, kSpanStages);
  const FedStream x_stream(barriers + 2 * kSpanStages, p.x_stages);
  if (threadIdx.x == 0) {
    weight_stream.init(kSimds);
    x_stream.init(kSimds);
  }
  __syncthreads();
  const PackedWeights weights{packed, packed1, packed2};
  StreamPlace span_place, x_place;
  if (warp >= kSimds) {
    give_registers<24>();
    if (warp > kSimds) return;
    const Tile* from = terms + first_tile;
    for (uint block = 0; block < all_blocks; block++, from += p.x_tiles) {
      if (block % kSpanBlocks == 0) {
        const uint span = block / kSpanBlocks, bytes = span_length(p, span);
        weight_stream.open(span_place, kPanels * bytes);
        for (uint i = 0; i < kPanels; i++) {
          const uint panel = min(first_panel + i, p.panels - 1);
          weight_stream.copy(span_place, spans + (span_place.at * kPanels + i) * p.span_bytes,
                             weights.panel_at(p, expert, panel) + ulong(span) * p.span_bytes,
                             bytes);
        }
        weight_stream.close(span_place);
        span_place.next(kSpanStages);
      }
      x_stream.open(x_place, tiles * sizeof(Tile));
      x_stream.copy(x_place, x_stages + x_place.at * kXTiles, from, tiles * sizeof(Tile));
      x_stream.close(x_place);
      x_place.next(p.x_stages);
    }
    x_stream.finish();  // and of the weight stream
    return;
  }
  take_registers<240>();
  Multiplier<Codec, kTerms> multiplier{p, scales, x_stages, x_stream, lane, warp};
  uint slice = 0;
  bool first = true;
  for (uint span = 0; span < p.spans; span++) {
    weight_stream.wait(span_place);
    multiplier.multiply_span(span, spans + span_place.at * kPanels * p.span_bytes, tiles);
    weight_stream.release(span_place.at);
    span_place.next(kSpanStages);
    // Slices without a span are no addends.
    while (slice < kCudaSlices && slice_begin(p.spans, slice + 1) <= span) slice++;
    if (slice_begin(p.spans, slice + 1) != span + 1) continue;
    UNROLL for (int k = 0; k < kOwnTotals; k++) {
      float& own = multiplier.total(k);
      float& sum = results[k * kThreads + threadIdx.x];
      sum = first ? own : sum + own;
      own = 0.0f;
    }
    first = false;
  }
  multiplier.store(results, first_panel, out_rows, outs);
}

#define CUDA_WIDE(name, ...)                              \
  INSTANTIATE(matmul_wide_1_##name, wide, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_wide_2_##name, wide, __VA_ARGS__, 2)

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
