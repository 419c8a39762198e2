// SPDX-License-Identifier: Apache-2.0
// One or few rows of x times weights stored as floats.
//   terms W::Element [out rows, terms, cols]
#include "kernels/matmul/cuda_dense.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

// A group per row of x.
template <class W>
__global__ void terms(const uchar* x, uint* to, float* scales, const CudaDense p) {
  await_inputs();
  uint* const own = to + ulong(blockIdx.x) * p.terms * (p.cols / 2);
  const float scale = make_terms<W>(
      x, blockIdx.x, p, [&](uint k, uint i, uint pair) { own[ulong(k) * p.cols / 2 + i] = pair; });
  if (p.scaled != 0 && threadIdx.x == 0) scales[blockIdx.x] = scale;
}

// Blocks of kPanels panels on their way from memory through kStages places. A lane reads what it
// has copied itself. stages: [kStages][kPanels][2 rows][kPieces][32] of 16 bytes
template <class W, int kPanels, int kStages>
struct WeightStream {
  enum { kStageLanes = kPanels * 2 * W::kPieces * 32 };

  const uchar* weight;
  uint4* stages;  // of this lane
  const uchar* at[kPanels][2];
  uint started, taken;

  GPU_FN void place(const CudaDense& p, uint panel, uint block) {
    UNROLL for (int i = 0; i < kPanels; i++) {
      UNROLL for (int r = 0; r < 2; r++) {
        const uint row = min((panel + i) * kPanelRows + LANE / 4 + 8 * r, p.rows - 1);
        at[i][r] =
            weight + (ulong(row) * p.cols + block * kBlock) * W::kBytes + LANE % 4 * kLaneBytes;
      }
    }
  }
  GPU_FN void start(bool there) {
    if (there) {
      const uint to = shared_address(stages + started * kStageLanes);
      UNROLL for (int i = 0; i < kPanels; i++) {
        UNROLL for (int r = 0; r < 2; r++) {
          UNROLL for (int k = 0; k < W::kPieces; k++) {
            copy_run_ahead(to + ((2 * i + r) * W::kPieces + k) * 512, at[i][r] + k * 64);
          }
          at[i][r] += W::kBytes * kBlock;
        }
      }
      started = started + 1 == kStages ? 0 : started + 1;
    }
    close_copies();
  }
  // Takes a block and calls start_next(), for which its place is free.
  template <class Start>
  GPU_FN void take(Operand<W, kPanels>& w, const Start& start_next) {
    wait_copies<kStages - 1>();
    const uint4* from = stages + taken * kStageLanes;
    taken = taken + 1 == kStages ? 0 : taken + 1;
    uint4 pieces[kPanels][2][W::kPieces];
    UNROLL for (int i = 0; i < kPanels; i++) {
      UNROLL for (int r = 0; r < 2; r++) {
        UNROLL for (int k = 0; k < W::kPieces; k++) {
          pieces[i][r][k] = from[((2 * i + r) * W::kPieces + k) * 32];
        }
      }
    }
    start_next();
    UNROLL for (int i = 0; i < kPanels; i++) {
      UNROLL for (int r = 0; r < 2; r++) take_row(pieces[i][r], i, r, w);
    }
  }
};

// A column of x in a block, `first` if it has the first term of its row. The second term of the
// weight meets that alone.
GPU_FN Run first_term(const Run& column, bool first) {
  return first ? column : Run{{make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)}};
}

enum { kTeams = 2, kTeamThreads = 32 * kCudaSlices, kMostTerms = 2 };

// One row of x: a group has a compute unit to itself, and its teams of eight simdgroups, one per
// slice of K, take one panel after the other.
//   threadgroup memory: terms W::Element [terms][cols + 32], then the stages
template <class W>
__global__ __launch_bounds__(kTeams* kTeamThreads,
                             1) void single(const uchar* weight, const uchar* x,
                                            const uchar* residual, uchar* out, const CudaDense p) {
  await_inputs();
  constexpr int kStages = W::kBytes == 2 ? 5 : 2;
  typedef WeightStream<W, 1, kStages> Stream;
  extern __shared__ uint4 shared[];
  __shared__ float partial[kTeams][2][kCudaSlices][kMostTerms][kPanelRows];
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint team = warp / kCudaSlices, slice = warp % kCudaSlices, pitch = p.cols + 32;
  const uint panels = (p.rows + kPanelRows - 1) / kPanelRows, blocks = p.cols / kBlock;
  const uint first = uint(ulong(panels) * blockIdx.x / gridDim.x) + team;
  const uint last = uint(ulong(panels) * (blockIdx.x + 1) / gridDim.x);
  const uint begin = slice_begin(blocks, slice), end = slice_begin(blocks, slice + 1);
  uint* const own_terms = reinterpret_cast<uint*>(shared);
  uint4* const stages = shared + p.terms * pitch / 8;
  Stream stream{weight, stages + warp * (kStages * Stream::kStageLanes) + lane, {}, 0, 0};
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
  UNROLL for (int s = 0; s < kStages; s++) start();
  const float scale = make_terms<W>(
      x, 0, p, [&](uint k, uint i, uint pair) { own_terms[k * pitch / 2 + i] = pair; });
  __syncthreads();

  // Columns past the last term are not stored.
  const uint4* const column =
      reinterpret_cast<const uint4*>(own_terms + (g < p.terms ? g : 0) * pitch / 2) + t;
  for (uint panel = first, turn = 0; panel < last; panel += kTeams, turn ^= 1) {
    float total[1][1][4] = {};
    for (uint block = begin; block < end; block++) {
      Operand<W, 1> w;
      Run own[1] = {{{column[8 * block], column[8 * block + 4]}}};
      stream.take(w, start);
      float c[1][1][4] = {};
      multiply<typename W::Element>(w.terms[0], own, c);
      if constexpr (W::kTerms == 2) {
        own[0] = first_term(own[0], g == 0);
        multiply<typename W::Element>(w.terms[1], own, c);
      }
      add(w, c, total);
    }
    float(&sums)[kCudaSlices][kMostTerms][kPanelRows] = partial[team][turn];
    if (t == 0) {
      UNROLL for (int k = 0; k < 4; k++) sums[slice][k % 2][g + k / 2 * 8] = total[0][0][k];
    }
    asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(int(kTeamThreads)) : "memory");
    const uint row = panel * kPanelRows + lane;
    if (slice == 0 && lane < kPanelRows && row < p.rows) {
      float sum = 0.0f;
#pragma unroll 1
      for (uint k = 0; k < p.terms; k++) {
        const float term = sum_of_slices(p.slices, &sums[0][k][lane], kMostTerms * kPanelRows);
        sum = k == 0 ? term : sum + term;
      }
      store(p, residual, out, 0, row, sum * scale);
    }
  }
}

// Few columns: a group of eight simdgroups, one per slice of K, takes two panels, of f32 one.
template <class W, int kTiles>
__global__ __launch_bounds__(kTeamThreads, 2) void narrow(const uchar* weight, const uint* terms,
                                                          const float* scales,
                                                          const uchar* residual, uchar* out,
                                                          const CudaDense p) {
  constexpr int kPanels = W::kBytes == 2 ? 2 : 1, kStages = 3, kRows = kPanels * kPanelRows;
  typedef WeightStream<W, kPanels, kStages> Stream;
  await_inputs();
  extern __shared__ uint4 shared[];
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint blocks = p.cols / kBlock, first_panel = blockIdx.x * kPanels;
  const uint begin = slice_begin(blocks, warp), end = slice_begin(blocks, warp + 1);
  Stream stream{weight, shared + warp * (kStages * Stream::kStageLanes) + lane, {}, 0, 0};
  stream.place(p, first_panel, begin);
  UNROLL for (int s = 0; s < kStages; s++) stream.start(begin + s < end);
  const uint4* column[kTiles];
  UNROLL for (int j = 0; j < kTiles; j++) {
    const uint own = min(g + 8 * j, p.out_rows * p.terms - 1);
    column[j] = reinterpret_cast<const uint4*>(terms + ulong(own) * (p.cols / 2)) + t;
  }
  float total[kPanels][kTiles][4] = {};
  for (uint block = begin; block < end; block++) {
    Operand<W, kPanels> w;
    Run own[kTiles];
    UNROLL for (int j = 0; j < kTiles; j++) {
      own[j] = {{column[j][8 * block], column[j][8 * block + 4]}};
    }
    stream.take(w, [&] { stream.start(block + kStages < end); });
    float c[kPanels][kTiles][4] = {};
    multiply<typename W::Element>(w.terms[0], own, c);
    if constexpr (W::kTerms == 2) {
      UNROLL for (int j = 0; j < kTiles; j++) own[j] = first_term(own[j], g % p.terms == 0);
      multiply<typename W::Element>(w.terms[1], own, c);
    }
    add(w, c, total);
  }

  // Sums of the slices [slice][column][weight row], where the blocks were.
  wait_copies<0>();
  __syncthreads();
  float* const partial = reinterpret_cast<float*>(shared);
  UNROLL for (int i = 0; i < kPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int k = 0; k < 4; k++) {
        const uint of = (warp * kTiles + j) * 8 + 2 * t + k % 2;
        partial[of * kRows + i * kPanelRows + g + k / 2 * 8] = total[i][j][k];
      }
    }
  }
  __syncthreads();
  for (uint i = threadIdx.x; i < p.out_rows * kRows; i += kTeamThreads) {
    const uint out_row = i / kRows, own = i % kRows;
    const uint row = blockIdx.x * kRows + own;
    if (row >= p.rows) continue;
    float sum = 0.0f;
#pragma unroll 1
    for (uint k = 0; k < p.terms; k++) {
      const float term = sum_of_slices(p.slices, partial + (out_row * p.terms + k) * kRows + own,
                                       8 * kTiles * kRows);
      sum = k == 0 ? term : sum + term;
    }
    store(p, residual, out, out_row, row, p.scaled != 0 ? sum * scales[out_row] : sum);
  }
}

#define CUDA_DENSE(name, ...)                                       \
  INSTANTIATE(matmul_dense_terms_##name, terms, __VA_ARGS__)        \
  INSTANTIATE(matmul_dense_single_##name, single, __VA_ARGS__)      \
  INSTANTIATE(matmul_dense_narrow_8_##name, narrow, __VA_ARGS__, 1) \
  INSTANTIATE(matmul_dense_narrow_24_##name, narrow, __VA_ARGS__, 3)
CUDA_DENSE(f16, AsStored<half>)
CUDA_DENSE(bf16, AsStored<bfloat>)
CUDA_DENSE(bf16_lifted, Lifted<bfloat>)
CUDA_DENSE(f32, Lifted<float>)

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
