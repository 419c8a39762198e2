// SPDX-License-Identifier: Apache-2.0
// matmul over weights stored as f16 or bf16, on matrix units. x becomes terms of the weight's type,
// whose sum it is, and a term of a row of x is a column: bf16 weights take 1, 2 or 3 terms for x in
// bf16, f16 and f32, which is exact. f16 weights take x times a power of two of each row: one term
// of f16 and bf16, two (22 bits) of f32.
//   weight T [rows, cols], aligned to 16 bytes   x [out rows, cols]
//   terms T [out rows, terms, cols]   scales f32 [out rows]   residual, out [out rows, rows]
//
// The order of f32 additions of one result, the same in all kernels:
//   a block of 64 along K: matrix units, from zero; a lane t has elements 8t .. 8t + 7 of each
//   half,
//       which it multiplies four at a time
//   total = total + block; totals of kCudaSlices runs of blocks, in order; terms, in order
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

enum { kBlock = 64, kLaneBytes = 16, kPieces = 4, kPanelBytes = 32 * kPieces * kLaneBytes };

GPU_FN void mma(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, half) {
  mma_f16(c, a0, a1, a2, a3, b0, b1);
}
GPU_FN void mma(float* c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, bfloat) {
  mma_bf16(c, a0, a1, a2, a3, b0, b1);
}

// The elements of a row in a block of 64 that a lane has.
struct Run {
  uint4 of[2];
};
// c[i][j] += rows g and g + 8 of panel i times column g of tile j.
template <class T, int kPanels, int kTiles>
GPU_FN void multiply(const Run (&w)[kPanels][2], const Run (&x)[kTiles],
                     float (&c)[kPanels][kTiles][4]) {
  UNROLL for (int h = 0; h < 2; h++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int i = 0; i < kPanels; i++) {
        const uint4 a = w[i][0].of[h], b = w[i][1].of[h];
        mma(c[i][j], a.x, b.x, a.y, b.y, x[j].of[h].x, x[j].of[h].y, T());
      }
    }
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int i = 0; i < kPanels; i++) {
        const uint4 a = w[i][0].of[h], b = w[i][1].of[h];
        mma(c[i][j], a.z, b.z, a.w, b.w, x[j].of[h].z, x[j].of[h].w, T());
      }
    }
  }
}

GPU_FN float cut(float v, half) { return float(half(v)); }
GPU_FN float cut(float v, bfloat) { return as_float(as_uint(v) & 0xffff0000u); }

// The exponent of what brings a row with this largest magnitude to 2^14 and more.
GPU_FN uint lift(uint most) { return min(268 - max(most >> 23, 1u), 253u); }

// The threads of a group write the terms of a row of x, `pitch` elements apart. Returns what sums
// of products are to be multiplied with.
template <class T>
GPU_FN float put_terms(const uchar* x, uint row, const CudaDense& p, T* to, uint pitch) {
  __shared__ uint most_of[32];
  const ulong first = ulong(row) * p.cols;
  uint exponent = 127;
  if (p.scaled != 0) {
    uint most = 0;
    for (uint i = threadIdx.x; i < p.cols; i += blockDim.x) {
      most = max(most, as_uint(fabsf(load_element(x, first + i, p.x_type))));
    }
    most = __reduce_max_sync(~0u, most);
    if (LANE == 0) most_of[SIMD_ID] = most;
    __syncthreads();
    most = __reduce_max_sync(~0u, LANE < NUM_SIMDS ? most_of[LANE] : 0);
    exponent = lift(most);
  }
  const float factor = as_float(exponent << 23);
  for (uint i = threadIdx.x; i < p.cols; i += blockDim.x) {
    float rest = load_element(x, first + i, p.x_type) * factor;
    for (uint k = 0; k + 1 < p.terms; k++) {
      const float term = cut(rest, T());
      to[k * pitch + i] = T(term);
      rest = rest - term;
    }
    to[(p.terms - 1) * pitch + i] = T(rest);
  }
  return as_float((254 - exponent) << 23);
}

// A group per row of x.
template <class T>
__global__ void terms(const uchar* x, T* to, float* scales, const CudaDense p) {
  await_inputs();
  const ulong at = ulong(blockIdx.x) * p.terms * p.cols;
  const float scale = put_terms(x, blockIdx.x, p, to + at, p.cols);
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

template <int kPanels, int kTiles>
GPU_FN void add(float (&total)[kPanels][kTiles][4], const float (&c)[kPanels][kTiles][4]) {
  UNROLL for (int i = 0; i < kPanels; i++) {
    UNROLL for (int j = 0; j < kTiles; j++) {
      UNROLL for (int k = 0; k < 4; k++) total[i][j][k] = total[i][j][k] + c[i][j][k];
    }
  }
}

GPU_FN void store(const CudaDense& p, const uchar* residual, uchar* out, uint out_row, uint row,
                  float v) {
  const ulong to = ulong(out_row) * p.rows + row;
  if (p.has_residual != 0) v = v + load_element(residual, to, p.out_type);
  store_element(out, to, p.out_type, v);
}

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
  const float scale = put_terms(x, 0, p, own_terms, pitch);
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

enum {
  kWideThreads = 256,
  kWideRows = 128,   // of the weight and columns of a group
  kWideStages = 4,   // blocks of 64
  kOwnPanels = 2,    // of a simdgroup; four simdgroups side by side along the weight rows,
  kOwnTiles = 8,     // two along the columns
  kTilesAtOnce = 2,  // are multiplied
  kStageBytes = 2 * kWideRows * 2 * kBlock,
  kResultPitch = kWideRows + 4
};

// Where piece 0..7 of a row of a block lies: rows g and g + 1 of a simdgroup meet in no bank.
GPU_FN uint piece_at(uint row, uint piece) { return row * 128 + (piece ^ row % 2 * 4) * 16; }

// Many columns: a group takes 128 rows of the weight times 128 columns.
template <class T>
__global__ __launch_bounds__(kWideThreads, 1) void wide(const uchar* weight, const T* terms,
                                                        const float* scales, const uchar* residual,
                                                        uchar* out, const CudaDense p) {
  await_inputs();
  extern __shared__ uint4 shared[];
  uchar* const memory = reinterpret_cast<uchar*>(shared);
  const uint warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint own_row = warp % 4 * kOwnPanels * kPanelRows, own_column = warp / 4 * kOwnTiles * 8;
  // Groups of the same weight rows are neighbours.
  const uint first_row = blockIdx.x / p.tiles * kWideRows;
  const uint first_out = blockIdx.x % p.tiles * p.tile_rows;
  const uint out_rows = min(p.out_rows - first_out, p.tile_rows), columns = out_rows * p.terms;
  const uint blocks = p.cols / kBlock;
  const uchar* const first_term =
      reinterpret_cast<const uchar*>(terms + ulong(first_out) * p.terms * p.cols);
  const auto start = [&](uint block) {
    if (block < blocks) {
      const uint to = shared_address(memory + block % kWideStages * kStageBytes);
      UNROLL for (uint i = 0; i < 2 * kWideRows * 8 / kWideThreads; i++) {
        const uint row = threadIdx.x / 8 + i % 4 * 32, piece = threadIdx.x % 8;
        const uchar* const from =
            i < 4 ? weight + ulong(min(first_row + row, p.rows - 1)) * (2 * p.cols)
                  : first_term + ulong(min(row, columns - 1)) * (2 * p.cols);
        copy_ahead(to + i / 4 * (kStageBytes / 2) + piece_at(row, piece),
                   from + block * (2 * kBlock) + piece * 16);
      }
    }
    close_copies();
  };
  const auto run_at = [&](const uchar* rows, uint row) {
    return Run{{*reinterpret_cast<const uint4*>(rows + piece_at(row, t)),
                *reinterpret_cast<const uint4*>(rows + piece_at(row, t + 4))}};
  };
  float total[kOwnTiles / kTilesAtOnce][kOwnPanels][kTilesAtOnce][4] = {};
  // Sums of the slices so far, [column][weight row].
  float* const results = reinterpret_cast<float*>(memory + kWideStages * kStageBytes);
  UNROLL for (int s = 0; s < kWideStages - 1; s++) start(s);
  uint slice = 0;
  bool first = true;
  for (uint block = 0; block < blocks; block++) {
    wait_copies<kWideStages - 2>();
    __syncthreads();
    start(block + kWideStages - 1);
    const uchar* const rows = memory + block % kWideStages * kStageBytes;
    Run w[kOwnPanels][2];
    UNROLL for (int i = 0; i < kOwnPanels; i++) {
      UNROLL for (int r = 0; r < 2; r++) {
        w[i][r] = run_at(rows, own_row + i * kPanelRows + 8 * r + g);
      }
    }
    UNROLL for (int part = 0; part < kOwnTiles / kTilesAtOnce; part++) {
      Run own[kTilesAtOnce];
      UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
        own[j] = run_at(rows + kStageBytes / 2, own_column + 8 * (part * kTilesAtOnce + j) + g);
      }
      float c[kOwnPanels][kTilesAtOnce][4] = {};
      multiply<T>(w, own, c);
      add(total[part], c);
    }
    // Slices without a block are no addends.
    while (slice < kCudaSlices && slice_begin(blocks, slice + 1) <= block) slice++;
    if (slice_begin(blocks, slice + 1) != block + 1) continue;
    UNROLL for (int k = 0; k < kOwnPanels * kOwnTiles * 4; k++) {
      const int tile = k / 8 / kOwnPanels * kTilesAtOnce + k / 4 % kTilesAtOnce;
      const uint row = own_row + k / 8 % kOwnPanels * kPanelRows + g + k / 2 % 2 * 8;
      const uint column = own_column + 8 * tile + 2 * t + k % 2;
      float &own = (&total[0][0][0][0])[k], &sum = results[column * kResultPitch + row];
      sum = first ? own : sum + own;
      own = 0.0f;
    }
    first = false;
  }

  __syncthreads();
  const uint own = threadIdx.x % kWideRows;
  if (first_row + own >= p.rows) return;
  for (uint i = threadIdx.x / kWideRows; i < out_rows; i += kWideThreads / kWideRows) {
    const float* from = results + i * p.terms * kResultPitch + own;
    float sum = from[0];
    for (uint k = 1; k < p.terms; k++) sum = sum + from[k * kResultPitch];
    const uint out_row = first_out + i;
    store(p, residual, out, out_row, first_row + own, p.scaled != 0 ? sum * scales[out_row] : sum);
  }
}

#define CUDA_DENSE(name, T)                                \
  INSTANTIATE(matmul_dense_terms_##name, terms, T)         \
  INSTANTIATE(matmul_dense_single_##name, single, T)       \
  INSTANTIATE(matmul_dense_narrow_8_##name, narrow, T, 1)  \
  INSTANTIATE(matmul_dense_narrow_24_##name, narrow, T, 3) \
  INSTANTIATE(matmul_dense_wide_##name, wide, T)
CUDA_DENSE(f16, half)
CUDA_DENSE(bf16, bfloat)

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
