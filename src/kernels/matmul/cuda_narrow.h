// SPDX-License-Identifier: Apache-2.0
// matmul of few rows of x. A group of eight simdgroups takes kPanels panels of 16 rows; simdgroup i
// sums slice i of K, with two spans of each panel on their way from memory.
//   packed: panels of the weights   x f32 [out rows, cols], aligned to 16 bytes
//   residual, outs [out rows, rows]
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_narrow {

enum { kStages = 2, kThreads = 32 * kCudaSlices, kPanels = 2, kWeightRows = kPanels * kPanelRows };

// kTiles: of eight rows of x.
template <class Codec, int kTiles>
__global__ __launch_bounds__(kThreads) void narrow(const uchar* packed, const uchar* packed1,
                                                   const uchar* packed2, const float* x,
                                                   const uchar* residual, uchar* out, uchar* out1,
                                                   uchar* out2, const CudaMatmul p) {
  await_inputs();
  typedef typename Codec::Order Order;
  typedef ScaleTable<Codec> Scales;
  constexpr int kRows = 8 * kTiles;
  constexpr uint kAhead = kTiles == 1 ? 4 : 2;  // blocks of x under way
  extern __shared__ uint4 shared[];
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint first_panel = blockIdx.x / p.tiles * kPanels;
  const uint first_out = blockIdx.x % p.tiles * kRows;
  const uint out_rows = min(p.out_rows - first_out, uint(kRows));
  const uint begin = slice_begin(p.spans, warp), end = slice_begin(p.spans, warp + 1);
  const uint begin_block = kSpanBlocks * begin, end_block = min(kSpanBlocks * end, p.cols / 32);

  // Of this simdgroup: stages of spans, scales of the spans at hand.
  const uint stage_bytes = kPanels * p.span_bytes;
  uchar* const stages = reinterpret_cast<uchar*>(shared) + warp * kStages * stage_bytes;
  float* const all_scales = reinterpret_cast<float*>(reinterpret_cast<uchar*>(shared) +
                                                     kCudaSlices * kStages * stage_bytes);
  float* const scales = all_scales + warp * kPanels * Scales::kFloats;

  __shared__ ulong barriers[kCudaSlices][kStages];
  const CopyStream<kStages> copies(barriers[warp]);
  copies.init(lane);
  __syncwarp();
  const PackedWeights weights{packed, packed1, packed2};
  const uchar* panel_from[kPanels];
  UNROLL for (int i = 0; i < kPanels; i++) {
    panel_from[i] = weights.panel_at(p, 0, min(first_panel + i, p.panels - 1));
  }
  const auto start = [&](uint span) {
    if (span < end) {
      const uint item = span - begin, bytes = span_length(p, span);
      copies.open(item, kPanels * bytes);
      UNROLL for (int i = 0; i < kPanels; i++) {
        copies.copy(item, stages + item % kStages * stage_bytes + i * p.span_bytes,
                    panel_from[i] + ulong(span) * p.span_bytes, bytes);
      }
    }
    copies.close();
  };
  // Columns past the last out row repeat it, and are not stored.
  const float* x_at[kTiles];
  UNROLL for (int j = 0; j < kTiles; j++) {
    x_at[j] = x + ulong(first_out + min(g + 8 * j, out_rows - 1)) * p.cols;
  }
  // x of the blocks to come, block k in slot k % kAhead.
  float v[kAhead][kTiles][8];
  const auto fetch = [&](uint block, float(&to)[kTiles][8]) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      load_x<Order>(x_at[j], min(block, end_block - 1), t, to[j]);
    }
  };

  if (begin < end) {
    UNROLL for (int s = 0; s < kStages; s++) start(begin + s);
    UNROLL for (int k = 0; k < kAhead; k++) fetch(begin_block + k, v[k]);
  }
  float total[kPanels][kTiles][4] = {};
  for (uint span = begin; span < end; span++) {
    const uint blocks = span_blocks(p, span);
    copies.wait<kStages - 1>(span - begin);
    __syncwarp();
    const uchar* const stage = stages + (span - begin) % kStages * stage_bytes;
    Span at[kPanels];
    UNROLL for (int i = 0; i < kPanels; i++) at[i] = span_at(p, span, stage + i * p.span_bytes);
    if constexpr (Codec::kTable) {
      UNROLL for (int i = 0; i < kPanels; i++) {
        Scales::template put<4>(at[i], 4 * (lane / kPanelRows), blocks, lane % kPanelRows,
                                scales + i * Scales::kFloats);
      }
      __syncwarp();
    }
    for (uint first = 0; first < blocks; first += kAhead) {
      UNROLL for (uint k = 0; k < kAhead; k++) {
        const uint block = first + k, k_block = kSpanBlocks * span + block;
        if (block >= blocks) break;
        Terms terms[kTiles];
        XSums<Codec::kHalves> sums[kTiles];
        UNROLL for (int j = 0; j < kTiles; j++) {
          terms[j] = split<Order>(v[k][j]);
          if constexpr (Codec::kBias) sums[j] = sum_x<Codec::kHalves, 2>(terms[j]);
        }
        fetch(k_block + kAhead, v[k]);
        WeightBlock<Codec> w[kPanels];
        UNROLL for (int i = 0; i < kPanels; i++) {
          w[i].load(at[i], scales + i * Scales::kFloats, block, g, t);
        }
        multiply<Codec, 2>(w, terms, sums, total);
      }
    }
    __syncwarp();
    start(span + kStages);
  }

  // Sums of the slices [slice][out row][weight row], where the spans were.
  __syncthreads();
  float* const partial = reinterpret_cast<float*>(shared);
  UNROLL for (int i = 0; i < kPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int c = 0; c < 4; c++) {
        const uint weight_row = i * kPanelRows + result_row(g, c), out_row = 8 * j + 2 * t + c % 2;
        partial[(warp * kRows + out_row) * kWeightRows + weight_row] = total[i][j][c];
      }
    }
  }
  __syncthreads();
  const Outs outs{residual, out, out1, out2};
  for (uint k = threadIdx.x; k < kRows * kWeightRows; k += kThreads) {
    const uint out_row = k / kWeightRows, panel = first_panel + k % kWeightRows / kPanelRows;
    // The panel of gate finds that of up behind it.
    const bool is_up = p.gated != kCudaNotGated && panel % 2 != 0;
    if (out_row >= out_rows || panel >= p.panels || is_up) continue;
    float sum = sum_of_slices(p.slices, partial + k, kRows * kWeightRows);
    if (p.gated != kCudaNotGated) {
      const float up = sum_of_slices(p.slices, partial + k + kPanelRows, kRows * kWeightRows);
      sum = gated_product(p, sum, up);
    }
    outs.store(p, first_out + out_row, place_of(p, panel), k % kPanelRows, sum);
  }
}

#define CUDA_NARROW(name, ...)                                \
  INSTANTIATE(matmul_narrow_8_##name, narrow, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_narrow_16_##name, narrow, __VA_ARGS__, 2)

}  // namespace kernels_matmul_narrow
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
