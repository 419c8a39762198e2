// SPDX-License-Identifier: Apache-2.0
// matmul of many rows of x: a group of eight simdgroups multiplies 128 weight rows by up to 128
// rows of x, which cuda_stage.cu has split into terms and, for experts, sorted. Spans of panels
// come two at a time, and pairs of blocks of x.
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
  kThreads = 256,
  kSimds = kThreads / 32,
  kPanels = 8,     // of a group
  kOwnPanels = 2,  // of a simdgroup; four simdgroups side by side along the weight rows,
  kOwnTiles = 8,   // two along the rows of x
  kXTiles = 16,
  kXStages = 2,  // each of two blocks
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
__global__ __launch_bounds__(kThreads, 1) void wide(const uchar* packed, const uchar* packed1,
                                                    const uchar* packed2, const XTile* terms,
                                                    const uint* order, const uint4* row_tiles,
                                                    const uchar* residual, uchar* out, uchar* out1,
                                                    uchar* out2, const CudaMatmul p) {
  await_inputs();
  typedef ScaleTable<Codec> Scales;
  constexpr int kHalves = Codec::kHalves;
  extern __shared__ uint4 shared[];
  // Spans [2][kPanels], scales of one [kPanels], blocks of x [kXStages][2][kXTiles], sums of the
  // slices so far [kOwnTotals][kThreads].
  uchar* const spans = reinterpret_cast<uchar*>(shared);
  float* const scales = reinterpret_cast<float*>(spans + 2 * kPanels * p.span_bytes);
  XTile* const x_stages = reinterpret_cast<XTile*>(scales + kPanels * Scales::kFloats);
  float* const results = reinterpret_cast<float*>(x_stages + kXStages * 2 * kXTiles);
  const uint warp = simd_broadcast(threadIdx.x / 32, 0), lane = threadIdx.x % 32, g = lane / 4,
             t = lane % 4;
  const uint own_panel = warp % 4 * kOwnPanels;
  const uint all_blocks = p.cols / 32;
  // Tiles of x take turns between the simdgroups along the rows, so that few are shared as well.
  const auto own_tile = [&](uint part) { return (2 * part + warp / 4) * kTilesAtOnce; };

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
  for (uint i = threadIdx.x; i < 8 * kXTiles; i += kThreads) {
    out_rows[i] = i >= 8 * tiles  ? uint(kNoRow)
                  : p.sorted != 0 ? order[8 * first_tile + i]
                                  : 8 * first_tile + i;
  }
  const Outs outs{residual, out, out1, out2};
  if (expert >= p.experts) {
    __syncthreads();
    for (uint i = threadIdx.x; i < 8 * kXTiles * kPanels * kPanelRows; i += kThreads) {
      const uint panel = first_panel + i / kPanelRows % kPanels;
      const uint out_row = out_rows[i / kPanelRows / kPanels];
      if (panel < p.panels && out_row < p.out_rows) {
        outs.store(p, out_row, place_of(p, panel), i % kPanelRows, 0.0f);
      }
    }
    return;
  }

  // Two simdgroups have the same panels, and copy one each.
  __shared__ ulong barriers[kSimds + 2][2];
  const CopyStream<2> weight_copies(barriers[warp], lane, 32);
  const uint x_thread = MLXN_BULK_COPIES ? lane : threadIdx.x;
  const CopyStream<kXStages> x_copies(barriers[kSimds], x_thread, kThreads);
  const ReadItems<kXStages> x_read(barriers[kSimds + 1]);
  weight_copies.init();
  if (warp == 0) x_copies.init();
  x_read.init(threadIdx.x, kSimds);
  __syncthreads();
  const auto pair_barrier = [&] {
    asm volatile("bar.sync %0, 64;" ::"r"(1 + warp % 4) : "memory");
  };
  const PackedWeights weights{packed, packed1, packed2};
  const auto start_weights = [&](uint span) {
    if (span >= p.spans) return;
    const uint copied = own_panel + warp / 4, panel = min(first_panel + copied, p.panels - 1);
    weight_copies.start(span, spans + (span % 2 * kPanels + copied) * p.span_bytes,
                        weights.panel_at(p, expert, panel) + ulong(span) * p.span_bytes,
                        span_length(p, span));
    weight_copies.close();
  };
  const auto start_pair = [&](uint pair) {
    const uint blocks = min(all_blocks - min(2 * pair, all_blocks), 2u);
    if (blocks == 0) return;
    const uint bytes = tiles * sizeof(XTile);
    x_copies.open(pair, blocks * bytes);
    for (uint i = 0; i < blocks; i++) {
      const uint block = 2 * pair + i;
      x_copies.copy(pair, x_stages + block % (2 * kXStages) * kXTiles,
                    terms + ulong(block) * p.x_tiles + first_tile, bytes);
    }
    x_copies.close();
  };
  float total[kParts][kOwnPanels][kTilesAtOnce][4] = {};
  start_weights(0);
  if (!MLXN_BULK_COPIES || warp == 0) start_pair(0);
  uint slice = 0;
  bool first = true;
  for (uint span = 0; span < p.spans; span++) {
    const uint blocks = span_blocks(p, span);
    const uchar* const span_stage = spans + span % 2 * kPanels * p.span_bytes;
    for (uint block = 0; block < blocks; block += 2) {
      const uint k_pair = (kSpanBlocks * span + block) / 2;
      if (block == 0) {
        weight_copies.wait<0>(span);
        pair_barrier();  // both copies are there, and nobody reads the span before
        start_weights(span + 1);
        if constexpr (Codec::kTable) {
          const uint row = lane % kPanelRows, panel = own_panel + lane / kPanelRows;
          Scales::template put<4>(span_at(p, span, span_stage + panel * p.span_bytes), warp / 4 * 4,
                                  blocks, row, scales + panel * Scales::kFloats);
          pair_barrier();
        }
      }
      x_copies.wait<0>(k_pair);
      // One simdgroup after the other sees that all are done with the pair before.
      if (!MLXN_BULK_COPIES || warp == k_pair % kSimds) {
        if (!MLXN_BULK_COPIES || k_pair > 0) x_read.wait(k_pair - 1);
        start_pair(k_pair + 1);
      }

      const XTile* const x = x_stages + k_pair % kXStages * 2 * kXTiles;
      const uchar* const own_spans = span_stage + own_panel * p.span_bytes;
      const float* const own_scales = scales + own_panel * Scales::kFloats;
      const auto multiply_block = [&](uint b, auto parts) {
        WeightBlock<Codec> w[kOwnPanels];
        UNROLL for (int i = 0; i < kOwnPanels; i++) {
          w[i].load(span_at(p, span, own_spans + i * p.span_bytes),
                    own_scales + i * Scales::kFloats, block + b, g, t);
        }
        UNROLL for (int part = 0; part < decltype(parts)::kCount; part++) {
          Terms own[kTilesAtOnce];
          XSums<kHalves> sums[kTilesAtOnce];
          UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
            load_tile<kTerms, Codec::kBias>(x[b * kXTiles + own_tile(part) + j], lane, own[j],
                                            sums[j]);
          }
          multiply<Codec, kTerms>(w, own, sums, total[part]);
        }
      };
      // Without a condition between them, blocks and parts overlap.
      if (tiles <= kXTiles / 4) {
        multiply_block(0, Parts<kParts / 4>());
        if (block + 1 < blocks) multiply_block(1, Parts<kParts / 4>());
      } else if (tiles <= kXTiles / 2) {
        multiply_block(0, Parts<kParts / 2>());
        if (block + 1 < blocks) multiply_block(1, Parts<kParts / 2>());
      } else if (block + 1 < blocks) {
        multiply_block(0, Parts<kParts>());
        multiply_block(1, Parts<kParts>());
      } else {
        multiply_block(0, Parts<kParts>());
      }
      x_read.add(k_pair);
    }
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
  for (int k = 0; k < kOwnTotals; k++) {  // k counts as total does
    const uint c = k % 4, j = k / 4 % kTilesAtOnce, i = k / 4 / kTilesAtOnce % kOwnPanels;
    const uint own = own_tile(k / 4 / kTilesAtOnce / kOwnPanels) + j;
    const uint panel = first_panel + own_panel + i, row = result_row(g, c);
    const uint out_row = out_rows[8 * own + 2 * t + c % 2];
    if (panel >= p.panels || out_row >= p.out_rows) continue;
    float sum = results[k * kThreads + threadIdx.x];
    if (p.gated != kCudaNotGated) {  // the panel of gate finds that of up behind it
      if (i != 0) continue;
      sum = gated_product(p, sum, results[(k + kPanelTotals) * kThreads + threadIdx.x]);
    }
    outs.store(p, out_row, place_of(p, panel), row, sum);
  }
}

#define CUDA_WIDE(name, ...)                              \
  INSTANTIATE(matmul_wide_1_##name, wide, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_wide_2_##name, wide, __VA_ARGS__, 2)

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
