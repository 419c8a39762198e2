// SPDX-License-Identifier: Apache-2.0
// What the kernels for one, few and many rows of x share, so that a result has the same bits in all
// of them: spans of panels in threadgroup memory, and the product of a block of 16 weight rows with
// 8 rows of x.
//
// The order of f32 additions of one result, along K:
//   a block of 32 (or each half of one with two scales): matrix units, from zero, 16 elements at a
//       time, for each the high and then the low term of x
//   total = fma(scale, block, total), then total = fma(bias, sum of x, total)
//   totals of kCudaSlices runs of spans, in order
#pragma once
#include "kernels/glu/gpu_activations.h"
#include "kernels/matmul/cuda_codecs.h"
#include "kernels/matmul/cuda_codecs_k.h"

namespace mlxn {
namespace gpu {
namespace panels {

enum { kPanelRows = 16, kSpanBlocks = 8 };

// First span of slice i; slice i ends where the next begins.
GPU_FN uint slice_begin(uint spans, uint i) { return uint(ulong(spans) * i / kCudaSlices); }

GPU_FN uint span_blocks(const CudaMatmul& p, uint span) {
  return min(p.cols / 32 - kSpanBlocks * span, uint(kSpanBlocks));
}
GPU_FN uint span_length(const CudaMatmul& p, uint span) {
  return span + 1 < p.spans ? p.span_bytes : p.panel_bytes - span * p.span_bytes;
}
GPU_FN Span span_at(const CudaMatmul& p, uint span, const uchar* at) {
  const bool last = span + 1 == p.spans;
  const uint biases_at = last ? p.last_biases_at : p.biases_at;
  return {at, at + (last ? p.last_head_bytes : p.head_bytes), p.has_biases != 0 ? biases_at : 0,
          p.group_shift, p.scale_type};
}

// The weight that a panel of the launch is of, and its number among those.
struct PanelPlace {
  uint weight, panel;
};
GPU_FN PanelPlace place_of(const CudaMatmul& p, uint panel) {
  if (p.gated != kCudaNotGated) return {panel % 2, panel / 2};
  if (panel < p.panel_ends[0]) return {0, panel};
  return panel < p.panel_ends[1] ? PanelPlace{1, panel - p.panel_ends[0]}
                                 : PanelPlace{2, panel - p.panel_ends[1]};
}

// The weights of a launch, those that are there.
struct PackedWeights {
  const uchar *first, *second, *third;

  GPU_FN const uchar* panel_at(const CudaMatmul& p, uint expert, uint panel) const {
    const PanelPlace place = place_of(p, panel);
    const uchar* from = place.weight == 0 ? first : place.weight == 1 ? second : third;
    return from + (ulong(expert) * p.expert_panels + place.panel) * p.panel_bytes;
  }
};

// Scales, and biases behind them, of the blocks of a span: f32 [8][kScales][16]; nothing for codecs
// whose scales are quick to come by.
template <class Codec>
struct ScaleTable {
  static constexpr int kHalves = Codec::kHalves;
  static constexpr int kScales = kHalves * (Codec::kBias ? 2 : 1);
  static constexpr int kFloats = Codec::kTable ? kSpanBlocks * kScales * kPanelRows : 0;

  // Writes those of one row of kCount blocks from `first` on, of those that exist.
  template <int kCount>
  static GPU_FN void put(const Span& span, uint first, uint blocks, uint row, float* table) {
    float scale[kCount][kHalves], bias[kCount][kHalves];
    UNROLL for (int i = 0; i < kCount; i++) {
      if (first + i < blocks)
        Codec::scales(span, first + i, Row{row / 2, row % 2}, scale[i], bias[i]);
    }
    UNROLL for (int i = 0; i < kCount; i++) {
      if (first + i >= blocks) break;
      float* to = table + (first + i) * kScales * kPanelRows + row;
      UNROLL for (int h = 0; h < kHalves; h++) {
        to[h * kPanelRows] = scale[i][h];
        if (Codec::kBias) to[(kHalves + h) * kPanelRows] = bias[i][h];
      }
    }
  }
};

// A block of 16 rows as a lane holds it: rows 2g and 2g + 1, which are rows g and g + 8 of operand
// a.
template <class Codec>
struct WeightBlock {
  static constexpr int kHalves = Codec::kHalves;
  uint codes[2][4];
  float scale[2][kHalves], bias[2][kHalves];

  GPU_FN void load(const Span& span, const float* table, uint block, uint g, uint t) {
    const float* from = table + block * ScaleTable<Codec>::kScales * kPanelRows;
    UNROLL for (uint r = 0; r < 2; r++) {
      Codec::codes(span, block, Row{g, r}, t, codes[r]);
      if constexpr (!Codec::kTable) Codec::scales(span, block, Row{g, r}, scale[r], bias[r]);
    }
    if constexpr (Codec::kTable) {
      UNROLL for (int h = 0; h < kHalves; h++) {
        load_pair(from + h * kPanelRows, g, scale, h);
        if (Codec::kBias) load_pair(from + (kHalves + h) * kPanelRows, g, bias, h);
      }
    }
  }

 private:
  static GPU_FN void load_pair(const float* from, uint g, float (*to)[kHalves], int h) {
    const float2 two = reinterpret_cast<const float2*>(from)[g];
    to[0][h] = two.x;
    to[1][h] = two.y;
  }
};
// The weight row of a panel that element k of a lane's results is of.
GPU_FN uint result_row(uint g, int k) { return 2 * g + k / 2; }

// The eight elements of a block of an f32 row that a lane has.
template <class Order>
GPU_FN void load_x(const float* x, uint block, uint t, float* v) {
  UNROLL for (int part = 0; part < 2; part++) {
    load_vec<4>(x + 32 * block + Order::start(t, part), v + 4 * part);
  }
}

// Sums of x over a block, or over each half, for columns 2t and 2t + 1.
template <int kHalves>
struct XSums {
  float of[kHalves][2];
};
template <int kHalves, int kTerms>
GPU_FN XSums<kHalves> sum_x(const Terms& x) {
  constexpr uint kOnes = 0x3f803f80u;
  XSums<kHalves> sums;
  float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  UNROLL for (int step = 0; step < 2; step++) {
    mma_bf16(c, kOnes, kOnes, kOnes, kOnes, x.high[2 * step], x.high[2 * step + 1]);
    if (kTerms == 2) {
      mma_bf16(c, kOnes, kOnes, kOnes, kOnes, x.low[2 * step], x.low[2 * step + 1]);
    }
    if (kHalves == 2 || step == 1) {
      const int h = kHalves == 2 ? step : 0;
      sums.of[h][0] = c[0];
      sums.of[h][1] = c[1];
      UNROLL for (int i = 0; i < 4; i++) c[i] = 0.0f;
    }
  }
  return sums;
}

// total[i][j] += block i of 16 weight rows times the j-th eight rows of x. Multiplications of
// different tiles take turns, since one must wait for the one before it in its tile.
template <class Codec, int kTerms, int kBlocks, int kTiles>
GPU_FN void multiply(const WeightBlock<Codec> (&w)[kBlocks], const Terms (&x)[kTiles],
                     const XSums<Codec::kHalves> (&sums)[kTiles], float (*total)[kTiles][4]) {
  constexpr int kHalves = Codec::kHalves;
  float c[kBlocks][kTiles][4] = {};
  UNROLL for (int step = 0; step < 2; step++) {
    UNROLL for (int term = 0; term < kTerms; term++) {
      UNROLL for (int j = 0; j < kTiles; j++) {
        const uint* b = (term == 0 ? x[j].high : x[j].low) + 2 * step;
        UNROLL for (int i = 0; i < kBlocks; i++) {
          const uint *row_g = w[i].codes[0] + 2 * step, *row_g8 = w[i].codes[1] + 2 * step;
          mma_bf16(c[i][j], row_g[0], row_g8[0], row_g[1], row_g8[1], b[0], b[1]);
        }
      }
    }
    if (kHalves == 1 && step == 0) continue;
    const int h = kHalves == 2 ? step : 0;
    UNROLL for (int i = 0; i < kBlocks; i++) {
      UNROLL for (int j = 0; j < kTiles; j++) {
        UNROLL for (int k = 0; k < 4; k++) {
          float& sum = total[i][j][k];
          sum = fmaf(w[i].scale[k / 2][h], c[i][j][k], sum);
          if (Codec::kBias) sum = fmaf(w[i].bias[k / 2][h], sums[j].of[h][k % 2], sum);
          c[i][j][k] = 0.0f;
        }
      }
    }
  }
}

// The sum of the slices' totals, which lie `stride` apart. Slices without a span are no addends.
GPU_FN float sum_of_slices(uint slices, const float* totals, uint stride) {
  float sum = 0.0f;
  bool first = true;
  UNROLL for (uint s = 0; s < kCudaSlices; s++) {
    if (slices >> s & 1) {
      sum = first ? totals[s * stride] : sum + totals[s * stride];
      first = false;
    }
  }
  return sum;
}

GPU_FN float gated_product(const CudaMatmul& p, float gate, float up) {
  return (p.gated == kCudaGeluTanh ? GeluTanh::of(gate) : Silu::of(gate)) * up;
}

// The outs of a launch, one per weight; of gate and up the first.
struct Outs {
  const uchar* residual;
  uchar *first, *second, *third;

  // Stores the result of row `row` of a panel, if there is one, with the residual added.
  GPU_FN void store(const CudaMatmul& p, uint out_row, PanelPlace place, uint row, float v) const {
    const uint weight = p.gated != kCudaNotGated ? 0 : place.weight;
    // Indexed by a variable, the constants would be copied to local memory.
    const uint rows = weight == 0 ? p.rows[0] : weight == 1 ? p.rows[1] : p.rows[2];
    const uint own = place.panel * kPanelRows + row;
    if (own >= rows) return;
    const ulong to = ulong(out_row) * rows + own;
    if (p.has_residual != 0) v = v + load_element(residual, to, p.out_type);
    store_element(weight == 0 ? first : weight == 1 ? second : third, to, p.out_type, v);
  }
};

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn

// One kernel per format, with the names that cuda_launch.cc makes.
#define CUDA_MATMUL_KERNELS_32(M) \
  M(q4_0, Q4_0)                   \
  M(q4_1, Q4_1)                   \
  M(q5_0, Q5_0)                   \
  M(q5_1, Q5_1)                   \
  M(q8_0, Q8_0)                   \
  M(iq4_nl, IQ4_NL)               \
  M(mxfp4, MXFP4)                 \
  M(mlx_mxfp4, MlxMxfp4)          \
  M(mlx_mxfp8, MlxMxfp8)          \
  M(mlx_nvfp4, MlxNvfp4)          \
  M(affine_2, AffineBits<2>)      \
  M(affine_3, AffineBits<3>)      \
  M(affine_4, Affine4) M(affine_5, AffineBits<5>) M(affine_6, AffineBits<6>) M(affine_8, Affine8)
#define CUDA_MATMUL_KERNELS_256(M) \
  M(q2_k, Q2_K) M(q3_k, Q3_K) M(q4_k, Q4_K) M(q5_k, Q5_K) M(q6_k, Q6_K) M(iq4_xs, IQ4_XS)
