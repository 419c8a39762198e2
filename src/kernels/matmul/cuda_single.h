// SPDX-License-Identifier: Apache-2.0
// matmul of one row of x, and expert_matmul: the time goes into reading the weight. A group has a
// compute unit to itself; its teams of eight simdgroups take one panel of 16 rows after the other,
// and simdgroup i of a team sums slice i of K. The spans of its panels form one stream, of which
// kStages are on their way from memory.
//   packed: panels of the weights   x f32 [x rows, cols], rows aligned to 16 bytes   ids [out rows]
//   residual, outs [out rows, rows]
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_single {

enum { kStages = 2, kTeamThreads = 32 * kCudaSlices, kMaxTeams = 4 };

// The slice of a row of x as terms in threadgroup memory, and sums over its blocks.
//   terms [block][term][t][4]   sums [block][2]: of the block, or of its halves
template <class Codec>
struct XSlice {
  typedef typename Codec::Order Order;
  enum { kBlockWords = 32 };
  uint* terms;
  float* sums;

  // Of every `step`-th eight blocks from the first on. A lane splits a quarter of a block: the
  // lanes hold an operand b with one block in each column.
  GPU_FN void put(const float* x, uint begin, uint end, uint start, uint step, uint lane) const {
    for (uint first = begin + 8 * start; first < end; first += 8 * step) {
      const uint block = first + lane / 4, t = lane % 4;
      float v[8];
      load_x<Order>(x, min(block, end - 1), t, v);
      const Terms own = split<Order>(v);
      if (block < end) {
        uint4* to = reinterpret_cast<uint4*>(terms + kBlockWords * (block - begin)) + t;
        to[0] = make_uint4(own.high[0], own.high[1], own.high[2], own.high[3]);
        to[4] = make_uint4(own.low[0], own.low[1], own.low[2], own.low[3]);
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
  // Column 0 of operand b, which the lanes 0 to 3 hold; the other columns stay as they are.
  GPU_FN void get(uint block, uint lane, Terms& own, XSums<Codec::kHalves>& sum) const {
    if (lane < 4) {
      const uint4* from = reinterpret_cast<const uint4*>(terms + kBlockWords * block) + lane;
      const uint4 high = from[0], low = from[4];
      own = {{high.x, high.y, high.z, high.w}, {low.x, low.y, low.z, low.w}};
    }
    if constexpr (Codec::kBias) {
      UNROLL for (int h = 0; h < Codec::kHalves; h++) {
        sum.of[h][0] = sums[2 * block + h];
        sum.of[h][1] = 0.0f;
      }
    }
  }
};

// total += one block of the panel times the row of x, in column 0.
template <class Codec>
GPU_FN void add_block(const Span& span, const float* scales, const XSlice<Codec>& x, uint block,
                      uint x_block, uint lane, float (*total)[1][4]) {
  Terms terms[1] = {};
  XSums<Codec::kHalves> sums[1];
  WeightBlock<Codec> w[1];
  x.get(x_block, lane, terms[0], sums[0]);
  w[0].load(span, scales, block, lane / 4, lane % 4);
  multiply<Codec, 2>(w, terms, sums, total);
}

// Waits for the threads of `teams` teams, of which `team` is one: 0 .. teams - 1, or the next ones.
GPU_FN void team_barrier(uint team, uint teams) {
  asm volatile("bar.sync %0, %1;" ::"r"(team / teams + 1), "r"(teams * uint(kTeamThreads))
               : "memory");
}

// The parts of the groups of a row of x are along the panels; group = row * parts + part. Of gate
// and up, an even team has a panel of gate while the next team has that of up.
template <class Codec>
__global__ __launch_bounds__(kMaxTeams* kTeamThreads,
                             1) void single(const uchar* packed, const uchar* packed1,
                                            const uchar* packed2, const float* x, const uint* ids,
                                            const uchar* residual, uchar* out, uchar* out1,
                                            uchar* out2, const CudaMatmul p) {
  await_inputs();
  typedef ScaleTable<Codec> Scales;
  extern __shared__ uint4 shared[];
  __shared__ float partial[kMaxTeams][2][kCudaSlices][kPanelRows];
  __shared__ ulong barriers[kMaxTeams * kCudaSlices][kStages];
  const uint lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint team = warp / kCudaSlices, slice = warp % kCudaSlices;
  const uint warps = blockDim.x / 32, teams = warps / kCudaSlices;
  const uint out_row = blockIdx.x / p.parts, part = blockIdx.x % p.parts;
  const PackedWeights weights{packed, packed1, packed2};
  const Outs outs{residual, out, out1, out2};
  const uint together = p.gated != kCudaNotGated ? 2 : 1, turns = p.panels / together;
  const uint group_first = uint(ulong(turns) * part / p.parts) * together;
  const uint first = group_first + team;
  const uint last = uint(ulong(turns) * (part + 1) / p.parts) * together;
  const uint begin = slice_begin(p.spans, slice), end = slice_begin(p.spans, slice + 1);
  const uint begin_block = kSpanBlocks * begin, end_block = min(kSpanBlocks * end, p.cols / 32);

  // Stages of spans, scales of the span at hand, terms of x and its sums.
  uchar* const memory = reinterpret_cast<uchar*>(shared);
  uchar* const stages = memory + warp * kStages * p.span_bytes;
  float* const all_scales = reinterpret_cast<float*>(memory + warps * kStages * p.span_bytes);
  float* const scales = all_scales + warp * Scales::kFloats;
  uint* const all_terms = reinterpret_cast<uint*>(all_scales + warps * Scales::kFloats);
  float* const all_sums = reinterpret_cast<float*>(all_terms + p.cols);
  const XSlice<Codec> x_slice{all_terms + XSlice<Codec>::kBlockWords * begin_block,
                              all_sums + 2 * begin_block};

  // The stream of spans: what is started next, and what a span of the last column has.
  const CopyStream<kStages> copies(barriers[warp], lane, 32);
  copies.init();
  __syncwarp();
  const uint last_bytes = p.panel_bytes - (p.spans - 1) * p.span_bytes;
  const uint expert = p.has_ids != 0 ? ids[out_row] : 0;
  uint next_panel = first, next_span = begin, started = 0;
  const uchar* next = nullptr;
  const auto start = [&] {
    if (next_panel < last && begin < end) {
      const uint bytes = next_span + 1 == p.spans ? last_bytes : p.span_bytes;
      copies.open(started, bytes);
      copies.copy(started, stages + started % kStages * p.span_bytes, next, bytes);
      started++;
      next += p.span_bytes;
      if (++next_span == end) {
        next_span = begin;
        next_panel += teams;
        if (next_panel < last) {
          next = weights.panel_at(p, expert, next_panel) + begin * p.span_bytes;
        }
      }
    }
    copies.close();
  };
  if (expert >= p.experts) {
    for (uint panel = group_first + threadIdx.x / kPanelRows; panel < last;
         panel += blockDim.x / kPanelRows) {
      outs.store(p, out_row, place_of(p, panel), threadIdx.x % kPanelRows, 0.0f);
    }
    return;
  }
  if (first < last) next = weights.panel_at(p, expert, first) + begin * p.span_bytes;
  UNROLL for (int s = 0; s < kStages; s++) start();
  x_slice.put(x + ulong(out_row / p.rows_per_x) * p.cols, begin_block, end_block, team, teams,
              lane);
  __syncthreads();

  uint taken = 0;
  for (uint panel = first, turn = 0; panel < last; panel += teams, turn ^= 1) {
    float total[1][1][4] = {};
    for (uint span = begin; span < end; span++) {
      copies.template wait<kStages - 1>(taken);
      __syncwarp();
      const uint blocks = span_blocks(p, span), x_block = kSpanBlocks * (span - begin);
      const Span at = span_at(p, span, stages + taken % kStages * p.span_bytes);
      taken++;
      if constexpr (Codec::kTable) {
        Scales::template put<4>(at, 4 * (lane / kPanelRows), blocks, lane % kPanelRows, scales);
        __syncwarp();
      }
      if (blocks == kSpanBlocks) {
#pragma unroll 4
        for (uint block = 0; block < kSpanBlocks; block++) {
          add_block<Codec>(at, scales, x_slice, block, x_block + block, lane, total);
        }
      } else {
#pragma unroll 1
        for (uint block = 0; block < blocks; block++) {
          add_block<Codec>(at, scales, x_slice, block, x_block + block, lane, total);
        }
      }
      __syncwarp();
      start();
    }

    // Sums of the slices; two buffers, so that one barrier is enough.
    float(&sums)[kCudaSlices][kPanelRows] = partial[team][turn];
    if (lane % 4 == 0) {
      sums[slice][lane / 4] = total[0][0][0];
      sums[slice][lane / 4 + 8] = total[0][0][2];
    }
    team_barrier(team, together);
    if (slice == 0 && lane < kPanelRows && team % together == 0) {
      float sum = sum_of_slices(p, &sums[0][lane], kPanelRows);
      if (p.gated != kCudaNotGated) {
        const float up = sum_of_slices(p, &partial[team + 1][turn][0][lane], kPanelRows);
        sum = gated_product(p, sum, up);
      }
      outs.store(p, out_row, place_of(p, panel), lane, sum);
    }
  }
}

#define CUDA_SINGLE(name, ...) INSTANTIATE(matmul_single_##name, single, __VA_ARGS__)

}  // namespace kernels_matmul_single
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
