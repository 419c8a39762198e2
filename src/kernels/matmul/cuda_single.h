// SPDX-License-Identifier: Apache-2.0
// matmul of one row of x, and expert_matmul: the time goes into reading the weight. A group has a
// compute unit to itself; its teams take one panel of 16 rows after the other, and each simdgroup
// of a team sums a slice of K that has a span. The spans of its panels form one stream, of which
// kStages are on their way from memory.
//   packed: panels of the weights   x f32 [x rows, cols], rows aligned to 16 bytes   ids [out rows]
//   residual, outs [out rows, rows]
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_single {

// Of a group at most 16 simdgroups: each thread may have 128 registers, and needs them.
enum { kStages = 2, kMaxSimds = 16, kTurns = 4, kTogether = 4 };

// The slice of a row of x as terms in threadgroup memory, and sums over its blocks.
//   terms [block][term][t][4], the terms of odd blocks in reverse, so that blocks g and g + 1 meet
//   in no bank   sums [block][2]: of the block, or of its halves
template <class Codec>
struct XSlice {
  typedef typename Codec::Order Order;
  enum { kBlockWords = 32 };
  uint* terms;
  float* sums;

  GPU_FN uint4* at(uint block, uint term, uint t) const {
    return reinterpret_cast<uint4*>(terms + kBlockWords * block) + 4 * (term ^ block % 2) + t;
  }
  // Of block first + lane / 4 or, past the end, of the last one: a quarter for a lane.
  GPU_FN static void load(const float* x, uint first, uint end, uint lane, float* v) {
    load_x<Order>(x, min(first + lane / 4, end - 1), lane % 4, v);
  }
  // Of every `step`-th eight blocks from the first on, whose elements are in v. The lanes hold an
  // operand b with one block in each column.
  GPU_FN void put(const float* x, uint begin, uint end, uint start, uint step, uint lane,
                  float* v) const {
    for (uint first = begin + 8 * start; first < end; first += 8 * step) {
      const uint block = first + lane / 4, t = lane % 4;
      if (first != begin + 8 * start) load(x, first, end, lane, v);
      const Terms own = split<Order>(v);
      if (block < end) {
        *at(block - begin, 0, t) = make_uint4(own.high[0], own.high[1], own.high[2], own.high[3]);
        *at(block - begin, 1, t) = make_uint4(own.low[0], own.low[1], own.low[2], own.low[3]);
      }
      if constexpr (Codec::kBias) {
        const XSums<Codec::kHalves> sum = sum_x<Codec::kHalves, 2>(own);
        UNROLL for (uint c = 0; c < 2; c++) {
          const uint column = first + 2 * t + c;
          if (lane >= 4 || column >= end) continue;
          UNROLL for (int h = 0; h < Codec::kHalves; h++) {
            sums[2 * (column - begin) + h] = sum.of[h][c];
          }
        }
      }
    }
  }
  // Of block `column` of a span, whose first block is `first`.
  GPU_FN Terms get(uint first, uint column, uint t) const {
    const uint4* const span = reinterpret_cast<const uint4*>(terms + kBlockWords * first);
    const uint place = 8 * column + 4 * (column % 2) + t;
    const uint4 high = span[place], low = span[place ^ 4];
    return {{high.x, high.y, high.z, high.w}, {low.x, low.y, low.z, low.w}};
  }
};

// Scales of blocks 2t and 2t + 1 of rows 2g and 2g + 1, [block][row].
template <class Codec, int kHalves>
GPU_FN void own_scales(const Span& span, uint g, uint t, float (*scale)[2][kHalves],
                       float (*bias)[2][kHalves]) {
  if constexpr (requires { Codec::kLess; }) {  // in arrays
    with_scale_type(span, [&](auto type) {
      UNROLL for (uint b = 0; b < 2; b++) {
        float2 scales, biases;
        Codec::pair_scales(span, 2 * t + b, g, type, &scales, &biases);
        scale[b][0][0] = scales.x, scale[b][1][0] = scales.y;
        bias[b][0][0] = biases.x, bias[b][1][0] = biases.y;
      }
    });
  } else if constexpr (requires { Codec::kSixBits; }) {
    six_bit_scales_of_two(span, t, g, scale, bias);
  } else {
    UNROLL for (uint b = 0; b < 2; b++) {
      UNROLL for (uint r = 0; r < 2; r++) {
        Codec::scales(span, 2 * t + b, Row{g, r}, scale[b][r], bias[b][r]);
      }
    }
  }
}

// Adds a span of a panel times the row of x, whose blocks are a column each: of rows g and g + 8 of
// operand a, lane 4g + t gets the sums of blocks 2t and 2t + 1 and has their scales. The totals of
// these two rows are in lane 4g before and after, and visit the others in the order of blocks.
template <class Codec, bool kWhole>
GPU_FN void add_span(const Span& span, const XSlice<Codec>& x, uint x_block, uint blocks, uint lane,
                     float* total) {
  constexpr int kHalves = Codec::kHalves;
  const uint g = lane / 4, t = lane % 4, before = t == 0 ? lane + 3 : lane - 1;
  const Terms own = x.get(x_block, kWhole ? g : min(g, blocks - 1), t);
  float scale[2][2][kHalves], bias[2][2][kHalves];  // [block][row]
  own_scales<Codec>(span, g, t, scale, bias);
  float4 sums;
  if constexpr (Codec::kBias) {
    const uint pair = kWhole ? t : min(t, (blocks - 1) / 2);
    sums = reinterpret_cast<const float4*>(x.sums + 2 * x_block)[pair];
  }
  // Multiplications of different blocks take turns, since one must wait for the one before it in
  // its block.
  UNROLL for (uint first = 0; first < kSpanBlocks; first += kTogether) {
    float c[kTogether][kHalves][4] = {};
    uint codes[kTogether][2][4];
    UNROLL for (uint b = 0; b < kTogether; b++) {
      if (!kWhole && first + b >= blocks) continue;
      UNROLL for (uint r = 0; r < 2; r++) Codec::codes(span, first + b, Row{g, r}, t, codes[b][r]);
    }
    UNROLL for (int step = 0; step < 2; step++) {
      UNROLL for (int term = 0; term < 2; term++) {
        const uint* from = (term == 0 ? own.high : own.low) + 2 * step;
        UNROLL for (uint b = 0; b < kTogether; b++) {
          if (!kWhole && first + b >= blocks) continue;
          const uint *row_g = codes[b][0] + 2 * step, *row_g8 = codes[b][1] + 2 * step;
          mma_bf16(c[b][kHalves == 2 ? step : 0], row_g[0], row_g8[0], row_g[1], row_g8[1], from[0],
                   from[1]);
        }
      }
    }
    UNROLL for (uint pair = 0; pair < kTogether / 2; pair++) {
      UNROLL for (uint r = 0; r < 2; r++) {
        UNROLL for (uint b = 0; b < 2; b++) {
          if (!kWhole && first + 2 * pair + b >= blocks) continue;
          UNROLL for (int h = 0; h < kHalves; h++) {
            total[r] = fmaf(scale[b][r][h], c[2 * pair + b][h][2 * r + b], total[r]);
            if (Codec::kBias) {
              const float sum = b == 0 ? (h == 0 ? sums.x : sums.y) : (h == 0 ? sums.z : sums.w);
              total[r] = fmaf(bias[b][r][h], sum, total[r]);
            }
          }
        }
        total[r] = simd_shuffle(total[r], before);
      }
    }
  }
}

template <bool kValue>
struct Constant {
  static constexpr bool value = kValue;
};

// Sums of a panel's row that the simdgroups of a team have.
GPU_FN float sum_in_order(const float* totals, uint count) {
  float sum = totals[0];
#pragma unroll 1
  for (uint s = 1; s < count; s++) sum = sum + totals[s * kPanelRows];
  return sum;
}

// The parts of the groups of a row of x are along the panels; group = row * parts + part. Of gate
// and up, an even team has a panel of gate while the next team has that of up.
template <class Codec>
__global__ __launch_bounds__(32 * kMaxSimds,
                             1) void single(const uchar* packed, const uchar* packed1,
                                            const uchar* packed2, const float* x, const uint* ids,
                                            const uchar* residual, uchar* out, uchar* out1,
                                            uchar* out2, const CudaMatmul p) {
  extern __shared__ uint4 shared[];
  __shared__ ulong barriers[kMaxSimds][kStages];
  // From a shuffle, or every span would ask for it again.
  const uint lane = simd_shuffle(threadIdx.x % 32, threadIdx.x % 32);
  const uint warp = simd_broadcast(threadIdx.x / 32, 0);
  const uint team = warp * p.team_share >> 16;
  const uint slice = p.slice_list >> 4 * (warp - team * p.team_simds) & 15;
  const uint warps = blockDim.x / 32, teams = warps * p.team_share >> 16;
  const uint out_row = p.out_rows == 1 ? 0 : blockIdx.x / p.parts;
  const uint part = blockIdx.x - out_row * p.parts;
  const PackedWeights weights{packed, packed1, packed2};
  const Outs outs{residual, out, out1, out2};
  const uint together = p.gated != kCudaNotGated ? 2 : 1;
  const uint group_first = (part * p.part_turns + min(part, p.longer_parts)) * together;
  const uint first = group_first + team;
  const uint last = group_first + (p.part_turns + (part < p.longer_parts ? 1 : 0)) * together;
  const uint begin = slice_begin(p.spans, slice), end = slice_begin(p.spans, slice + 1);
  const uint begin_block = kSpanBlocks * begin, end_block = min(kSpanBlocks * end, p.cols / 32);

  // Terms of x and its sums, totals of some panels [kTurns][warps][kPanelRows], stages of spans.
  uint* const all_terms = reinterpret_cast<uint*>(shared);
  float* const all_sums = reinterpret_cast<float*>(all_terms + p.cols);
  float* const partial = all_sums + (p.cols + 63) / 64 * 4;
  uchar* const all_stages = reinterpret_cast<uchar*>(partial + kTurns * kPanelRows * warps);
  uchar* const stages = all_stages + warp * kStages * p.span_bytes;
  const XSlice<Codec> x_slice{all_terms + XSlice<Codec>::kBlockWords * begin_block,
                              all_sums + 2 * begin_block};

  // The stream of spans: what is started next, and what a span of the last column has.
  const CopyStream<kStages> copies(barriers[warp]);
  copies.init(lane);
  __syncwarp();
  const uint tail_bytes = span_length(p, end - 1);
  uint expert = 0, next_panel = first, next_span = begin;
  const uchar* next = nullptr;
  const auto start = [&](uint item, uchar* to) {
    if (next_panel < last) {
      if (next_span == begin) {
        next = weights.panel_at(p, expert, next_panel) + begin * p.span_bytes;
      }
      const uint bytes = next_span + 1 == end ? tail_bytes : p.span_bytes;
      copies.start(item, to, next, bytes);
      next += p.span_bytes;
      if (++next_span == end) {
        next_span = begin;
        next_panel += teams;
      }
    }
    copies.close();
  };
  const auto start_all = [&] {
#pragma unroll 1
    for (int s = 0; s < kStages; s++) start(s, stages + s * p.span_bytes);
  };
  // What prepare() has written is no result of a kernel that may still run.
  const bool early = p.prepared != 0 && p.has_ids == 0;
  if (early) start_all();
  await_inputs();
  // x is asked for together with the expert.
  const uint x_row = p.out_rows == 1 ? 0 : out_row / p.rows_per_x;
  const float* const own_x = x + ulong(x_row) * p.cols;
  float elements[8];
  x_slice.load(own_x, begin_block + 8 * team, end_block, lane, elements);
  if (p.has_ids != 0) expert = ids[out_row];
  if (expert >= p.experts) {
    for (uint panel = group_first + threadIdx.x / kPanelRows; panel < last;
         panel += blockDim.x / kPanelRows) {
      outs.store(p, out_row, place_of(p, panel), threadIdx.x % kPanelRows, 0.0f);
    }
    return;
  }
  if (!early) start_all();
  x_slice.put(own_x, begin_block, end_block, team, teams, lane, elements);
  __syncthreads();

  // The teams of gate and up wait for each other.
  const uint pair = team / together, pair_simds = together * p.team_simds;
  const auto pair_barrier = [&] {
    asm volatile("bar.sync %0, %1;" ::"r"(pair + 1), "r"(32 * pair_simds) : "memory");
  };
  const uint whole_end = end_block % kSpanBlocks == 0 ? end : end - 1;
  uint taken = 0, turn = 0;
  uchar *here = stages, *there = stages + p.span_bytes;  // places of the next two spans
  for (uint panel = first; panel < last; panel += teams) {
    float total[2] = {};
    uint x_block = 0;
    const auto take = [&](auto whole, uint head_bytes, uint biases_at) {
      copies.template wait<kStages - 1>(taken);
      __syncwarp();
      const uchar* const at = here;
      const Span span{at, at + head_bytes, p.has_biases != 0 ? biases_at : 0, p.group_shift,
                      p.scale_type};
      add_span<Codec, decltype(whole)::value>(span, x_slice, x_block,
                                              end_block - begin_block - x_block, lane, total);
      x_block += kSpanBlocks;
      __syncwarp();
      start(taken++, here);
      uchar* const next_place = there;
      there = here;
      here = next_place;
    };
    for (uint span = begin; span < whole_end; span++) {
      take(Constant<true>(), p.head_bytes, p.biases_at);
    }
    if (whole_end < end) take(Constant<false>(), p.last_head_bytes, p.last_biases_at);

    if (lane % 4 == 0) {
      reinterpret_cast<float2*>(partial + (turn * warps + warp) * kPanelRows)[lane / 4] =
          make_float2(total[0], total[1]);
    }
    const bool more = panel + teams < last;
    if (++turn < kTurns && more) continue;
    // Sums of the slices of some panels.
    pair_barrier();
    const uint first_simd = pair * pair_simds, round_first = panel - (turn - 1) * teams;
    for (uint i = threadIdx.x - 32 * first_simd; i < turn * kPanelRows; i += 32 * pair_simds) {
      const uint row = i % kPanelRows;
      const float* const sums = partial + (i / kPanelRows * warps + first_simd) * kPanelRows + row;
      float sum = sum_in_order(sums, p.team_simds);
      if (p.gated != kCudaNotGated) {
        sum = gated_product(p, sum, sum_in_order(sums + p.team_simds * kPanelRows, p.team_simds));
      }
      const uint own = round_first - team % together + i / kPanelRows * teams;
      outs.store(p, out_row, place_of(p, own), row, sum);
    }
    if (more) pair_barrier();
    turn = 0;
  }
}

#define CUDA_SINGLE(name, ...) INSTANTIATE(matmul_single_##name, single, __VA_ARGS__)

}  // namespace kernels_matmul_single
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
