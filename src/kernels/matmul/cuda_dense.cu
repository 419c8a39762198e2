// SPDX-License-Identifier: Apache-2.0
// One or few rows of x times weights stored as f16 or bf16.
//   terms T [out rows, terms, cols]
#include "kernels/matmul/cuda_dense.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

// A group per row of x.
template <class T>
__global__ void terms(const uchar* x, T* to, float* scales, const CudaDense p) {
  await_inputs();
  uint* const own = reinterpret_cast<uint*>(to + ulong(blockIdx.x) * p.terms * p.cols);
  const float scale = make_terms<T>(
      x, blockIdx.x, p, [&](uint k, uint i, uint pair) { own[ulong(k) * p.cols / 2 + i] = pair; });
  if (p.scaled != 0 && threadIdx.x == 0) scales[blockIdx.x] = scale;
}

// Blocks of kPanels panels on their way from memory through kStages places. A lane reads what it
// has copied itself. stages: [kStages][kPanels][kPieces][32] of 16 bytes
template <int kPanels, int kStages>
struct WeightStream {
  const uchar* weight;
  uint4* stages;  // of this lane
  const uchar* at[kPanels][2];
  uint started, taken;

  GPU_FN void place(const CudaDense& p, uint panel, uint block) {
    UNROLL for (int i = 0; i < kPanels; i++) {
      UNROLL for (int r = 0; r < 2; r++) {
        const uint row = min((panel + i) * kPanelRows + LANE / 4 + 8 * r, p.rows - 1);
        at[i][r] = weight + (ulong(row) * p.cols + block * kBlock) * 2 + LANE % 4 * kLaneBytes;
      }
    }
  }
  GPU_FN void start(bool there) {
    if (there) {
      const uint to = shared_address(stages + started * (kPanels * kPieces * 32));
      UNROLL for (int i = 0; i < kPanels; i++) {
        UNROLL for (int k = 0; k < kPieces; k++) {
          copy_ahead(to + (i * kPieces + k) * 512, at[i][k / 2] + k % 2 * 64);
        }
        at[i][0] += 2 * kBlock;
        at[i][1] += 2 * kBlock;
      }
      started = started + 1 == kStages ? 0 : started + 1;
    }
    close_copies();
  }
  GPU_FN void take(Run (&w)[kPanels][2]) {
    wait_copies<kStages - 1>();
    const uint4* from = stages + taken * (kPanels * kPieces * 32);
    UNROLL for (int i = 0; i < kPanels; i++) {
      UNROLL for (int k = 0; k < kPieces; k++) w[i][k / 2].of[k % 2] = from[(i * kPieces + k) * 32];
    }
    taken = taken + 1 == kStages ? 0 : taken + 1;
  }
};

enum { kTeams = 2, kTeamThreads = 32 * kCudaSlices, kSingleStages = 5, kTermColumns = 4 };

// One row of x: a group has a compute unit to itself, and its teams of eight simdgroups, one per
// slice of K, take one panel after the other.
//   threadgroup memory: terms T [terms][cols + 32], then the stages
template <class T>
__global__ __launch_bounds__(kTeams* kTeamThreads,
                             1) void single(const uchar* weight, const uchar* x,
                                            const uchar* residual, uchar* out, const CudaDense p) {
  await_inputs();
  extern __shared__ uint4 shared[];
  __shared__ float partial[kTeams][2][kCudaSlices][kTermColumns][kPanelRows];
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint team = warp / kCudaSlices, slice = warp % kCudaSlices, pitch = p.cols + 32;
  const uint panels = (p.rows + kPanelRows - 1) / kPanelRows, blocks = p.cols / kBlock;
  const uint first = uint(ulong(panels) * blockIdx.x / gridDim.x) + team;
  const uint last = uint(ulong(panels) * (blockIdx.x + 1) / gridDim.x);
  const uint begin = slice_begin(blocks, slice), end = slice_begin(blocks, slice + 1);
  T* const own_terms = reinterpret_cast<T*>(shared);
  uint4* const stages = shared + p.terms * pitch / 8;
  WeightStream<1, kSingleStages> stream{
      weight, stages + warp * (kSingleStages * kPieces * 32) + lane, {}, 0, 0};
  uint next_panel = first, next_block = begin;
  stream.place(p, first, begin);
  const auto start = [&] {
    const bool there = next_panel < last && begin < end;
    stream.start(there);
    if (there && ++next_block == end) {
      next_block = begin;
      next_panel += kTeams;
      stream.place(p, next_panel, begin);
    }
  };
  UNROLL for (int s = 0; s < kSingleStages; s++) start();
  const float scale = make_terms<T>(x, 0, p, [&](uint k, uint i, uint pair) {
    reinterpret_cast<uint*>(own_terms)[k * pitch / 2 + i] = pair;
  });
  __syncthreads();

  // Columns past the last term are not stored.
  const uint4* const column =
      reinterpret_cast<const uint4*>(own_terms + (g < p.terms ? g : 0) * pitch) + t;
  for (uint panel = first, turn = 0; panel < last; panel += kTeams, turn ^= 1) {
    float total[1][1][4] = {};
    for (uint block = begin; block < end; block++) {
      Run w[1][2], own[1];
      own[0] = {{column[8 * block], column[8 * block + 4]}};
      stream.take(w);
      float c[1][1][4] = {};
      multiply<T>(w, own, c);
      add(total, c);
      start();
    }
    float(&sums)[kCudaSlices][kTermColumns][kPanelRows] = partial[team][turn];
    if (2 * t < kTermColumns) {
      UNROLL for (int k = 0; k < 4; k++) sums[slice][2 * t + k % 2][g + k / 2 * 8] = total[0][0][k];
    }
    asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(int(kTeamThreads)) : "memory");
    const uint row = panel * kPanelRows + lane;
    if (slice == 0 && lane < kPanelRows && row < p.rows) {
      float sum = 0.0f;
#pragma unroll 1
      for (uint k = 0; k < p.terms; k++) {
        const float term = sum_of_slices(p.slices, &sums[0][k][lane], kTermColumns * kPanelRows);
        sum = k == 0 ? term : sum + term;
      }
      store(p, residual, out, 0, row, sum * scale);
    }
  }
}

enum { kNarrowPanels = 2, kNarrowStages = 3, kNarrowRows = kNarrowPanels * kPanelRows };

// Few columns: a group of eight simdgroups, one per slice of K, takes two panels.
template <class T, int kTiles>
__global__ __launch_bounds__(kTeamThreads, 2) void narrow(const uchar* weight, const T* terms,
                                                          const float* scales,
                                                          const uchar* residual, uchar* out,
                                                          const CudaDense p) {
  await_inputs();
  extern __shared__ uint4 shared[];
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint blocks = p.cols / kBlock, first_panel = blockIdx.x * kNarrowPanels;
  const uint begin = slice_begin(blocks, warp), end = slice_begin(blocks, warp + 1);
  WeightStream<kNarrowPanels, kNarrowStages> stream{
      weight, shared + warp * (kNarrowStages * kNarrowPanels * kPieces * 32) + lane, {}, 0, 0};
  stream.place(p, first_panel, begin);
  UNROLL for (int s = 0; s < kNarrowStages; s++) stream.start(begin + s < end);
  const uint4* column[kTiles];
  UNROLL for (int j = 0; j < kTiles; j++) {
    const uint own = min(g + 8 * j, p.out_rows * p.terms - 1);
    column[j] = reinterpret_cast<const uint4*>(terms + ulong(own) * p.cols) + t;
  }
  float total[kNarrowPanels][kTiles][4] = {};
  for (uint block = begin; block < end; block++) {
    Run w[kNarrowPanels][2], own[kTiles];
    UNROLL for (int j = 0; j < kTiles; j++) {
      own[j] = {{column[j][8 * block], column[j][8 * block + 4]}};
    }
    stream.take(w);
    float c[kNarrowPanels][kTiles][4] = {};
    multiply<T>(w, own, c);
    add(total, c);
    stream.start(block + kNarrowStages < end);
  }

  // Sums of the slices [slice][column][weight row], where the blocks were.
  wait_copies<0>();
  __syncthreads();
  float* const partial = reinterpret_cast<float*>(shared);
  UNROLL for (int i = 0; i < kNarrowPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int k = 0; k < 4; k++) {
        const uint of = (warp * kTiles + j) * 8 + 2 * t + k % 2;
        partial[of * kNarrowRows + i * kPanelRows + g + k / 2 * 8] = total[i][j][k];
      }
    }
  }
  __syncthreads();
  for (uint i = threadIdx.x; i < p.out_rows * kNarrowRows; i += kTeamThreads) {
    const uint out_row = i / kNarrowRows, own = i % kNarrowRows;
    const uint row = blockIdx.x * kNarrowRows + own;
    if (row >= p.rows) continue;
    float sum = 0.0f;
#pragma unroll 1
    for (uint k = 0; k < p.terms; k++) {
      const float term =
          sum_of_slices(p.slices, partial + (out_row * p.terms + k) * kNarrowRows + own,
                        8 * kTiles * kNarrowRows);
      sum = k == 0 ? term : sum + term;
    }
    store(p, residual, out, out_row, row, p.scaled != 0 ? sum * scales[out_row] : sum);
  }
}

#define CUDA_DENSE(name, T)                               \
  INSTANTIATE(matmul_dense_terms_##name, terms, T)        \
  INSTANTIATE(matmul_dense_single_##name, single, T)      \
  INSTANTIATE(matmul_dense_narrow_8_##name, narrow, T, 1) \
  INSTANTIATE(matmul_dense_narrow_24_##name, narrow, T, 3)
CUDA_DENSE(f16, half)
CUDA_DENSE(bf16, bfloat)

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
