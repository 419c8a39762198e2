// SPDX-License-Identifier: Apache-2.0
// Many columns times weights stored as f16 or bf16: a group takes 128 rows of the weight times up
// to 128 columns. Eight simdgroups multiply, four copy, four blocks of 64 ahead.
//   tiles: XBlock [tiles of out rows][blocks][16]
#include "kernels/common/cuda_wgmma.h"
#include "kernels/matmul/cuda_dense.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_dense {

enum {
  kSimds = 8,  // that multiply
  kThreads = 32 * kSimds,
  kCopyThreads = 128,
  kAllThreads = kThreads + kCopyThreads,
  kRows = 128,   // of the weight
  kXTiles = 16,  // of eight columns
  kStages = 4,
  kWeightBytes = kRows * 2 * kBlock,  // of a stage
  kTotals = 64,                       // of a lane
  kResultPitch = kRows + 4
};

// Eight columns of a block: pairs of elements, by lane.
struct XBlock {
  uint words[256];
};
struct Stage {
  uchar weight[kWeightBytes];
  XBlock x[kXTiles];
};

// Where pair i of a lane lies: those of mma 0 to 3 one behind the other, in matrices of eight
// columns by eight elements for warpgroups, else so that a lane finds four pairs side by side.
GPU_FN uint word_of(uint lane, uint i) {
  return MLXN_WARPGROUPS ? 32 * i + lane : (i / 4 * 32 + lane) * 4 + i % 4;
}

// A group per row of x.
template <class T>
__global__ void tile_terms(const uchar* x, XBlock* tiles, float* scales, const CudaDense p) {
  await_inputs();
  const uint row = blockIdx.x, blocks = p.cols / kBlock;
  const uint column = row % p.tile_rows * p.terms;
  XBlock* const own = tiles + ulong(row / p.tile_rows) * blocks * kXTiles;
  const auto put = [&](uint k, uint i, uint pair) {
    // Pairs of a half of a block: four of lane 0, four of lane 1 ...
    const uint lane = (column + k) % 8 * 4 + i % 16 / 4, own_pair = i % 32 / 16 * 4 + i % 4;
    own[i / 32 * kXTiles + (column + k) / 8].words[word_of(lane, own_pair)] = pair;
  };
  const float scale = make_terms<T>(x, row, p, put);
  if (p.scaled != 0 && threadIdx.x == 0) scales[row] = scale;
  // Behind the last column there are zeros.
  if (row + 1 != p.out_rows && (row + 1) % p.tile_rows != 0) return;
  const uint missing = (8 - (column + p.terms) % 8) % 8;
  for (uint k = p.terms; k < p.terms + missing; k++) {
    for (uint i = threadIdx.x; i < p.cols / 2; i += blockDim.x) put(k, i, 0);
  }
}

// Where piece 0..7 of a row of a block lies: rows g and g + 1 of a simdgroup meet in no bank.
GPU_FN uint piece_at(uint row, uint piece) { return row * 128 + (piece ^ row % 2 * 4) * 16; }

// Stages on their way. Of each place a barrier in memory says that it is filled, and a named one, 2
// and on, that it has been read.
struct Stages {
  uint barriers, blocks;

  GPU_FN void init() const {
    for (uint i = 0; i < kStages; i++) init_barrier(filled(i), kCopyThreads + MLXN_BULK_COPIES);
    publish_barriers();
  }
  GPU_FN uint filled(uint block) const { return barriers + 8 * (block % kStages); }
  GPU_FN void wait(uint block) const { wait_barrier(filled(block), block / kStages & 1); }
  // By those that multiply; of the last blocks nobody asks.
  GPU_FN void release(uint block) const {
    if (block + kStages >= blocks) return;
    asm volatile("bar.arrive %0, %1;" ::"r"(2 + block % kStages), "n"(int(kAllThreads)) : "memory");
  }
  // By those that copy, before they do.
  GPU_FN void wait_read(uint block) const {
    if (block < kStages) return;
    asm volatile("bar.sync %0, %1;" ::"r"(2 + block % kStages), "n"(int(kAllThreads)) : "memory");
  }
};

// By kCopyThreads threads.
GPU_FN void copy_stages(const uchar* weight, const XBlock* x, Stage* stages, const Stages& stream,
                        uint first_row, uint x_tiles, const CudaDense& p) {
  enum { kOwn = kRows * 8 / kCopyThreads };
  const uint own = threadIdx.x - kThreads, blocks = p.cols / kBlock;
  const uchar* from[kOwn];
  UNROLL for (uint i = 0; i < kOwn; i++) {
    const uint row = min(first_row + own / 8 + kCopyThreads / 8 * i, p.rows - 1);
    from[i] = weight + ulong(row) * (2 * p.cols) + own % 8 * 16;
  }
  for (uint block = 0; block < blocks; block++, x += kXTiles) {
    Stage& to = stages[block % kStages];
    stream.wait_read(block);
    const uint barrier = stream.filled(block), bytes = x_tiles * uint(sizeof(XBlock));
#if MLXN_BULK_COPIES
    if (own < 32 && is_elected()) {
      expect_bytes(barrier, bytes);
      bulk_copy(barrier, to.x, x, bytes);
    }
#else
    for (uint at = own * 16; at < bytes; at += kCopyThreads * 16) {
      copy_ahead(shared_address(to.x) + at, reinterpret_cast<const uchar*>(x) + at);
    }
#endif
    const uint rows = shared_address(to.weight);
    UNROLL for (uint i = 0; i < kOwn; i++) {
      copy_ahead(rows + piece_at(own / 8 + kCopyThreads / 8 * i, own % 8), from[i]);
      from[i] += 2 * kBlock;
    }
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
  }
  close_copies();
  wait_copies<0>();  // copies do not outlive the threads that have started them
}

GPU_FN Run run_at(const uchar* rows, uint row, uint t) {
  return Run{{*reinterpret_cast<const uint4*>(rows + piece_at(row, t)),
              *reinterpret_cast<const uint4*>(rows + piece_at(row, t + 4))}};
}

#if MLXN_WARPGROUPS

// A simdgroup has sixteen rows and all columns; four of them multiply together, and while they add
// sums, the other four multiply.
template <class T>
struct Multiplier {
  const Stage* stages;
  const Stages& stream;
  uint warp;
  float totals[kXTiles][4] = {};

  GPU_FN float& total(int k) { return totals[k / 4][k % 4]; }
  GPU_FN uint row_of(int k) const { return warp * kPanelRows + LANE / 4 + k / 2 % 2 * 8; }
  GPU_FN uint column_of(int k) const { return k / 4 * 8 + LANE % 4 * 2 + k % 2; }

  // Blocks first to last - 1.
  GPU_FN void multiply_blocks(uint first, uint last, uint x_tiles) {
    if (x_tiles > kXTiles / 2) {
      multiply_tiles<kXTiles>(first, last);
    } else {
      multiply_tiles<kXTiles / 2>(first, last);
    }
  }

 private:
  template <int kTiles>
  GPU_FN void multiply_tiles(uint first, uint last) {
#pragma unroll 1
    for (uint block = first; block < last; block++) {
      stream.wait(block);
      const Stage& stage = stages[block % kStages];
      Run rows[2];  // g and g + 8
      UNROLL for (int r = 0; r < 2; r++) {
        rows[r] = run_at(stage.weight, warp * kPanelRows + 8 * r + LANE / 4, LANE % 4);
      }
      float sums[kTiles][4];
      start<kTiles>(rows, shared_address(stage.x), sums);
      wait_products<0>(sums);
      UNROLL for (int j = 0; j < kTiles; j++) {
        UNROLL for (int k = 0; k < 4; k++) totals[j][k] = totals[j][k] + sums[j][k];
      }
      stream.release(block);
    }
  }

  template <int kTiles>
  static GPU_FN void start(const Run (&rows)[2], uint x_at, float (&sums)[kTiles][4]) {
    open_products();
    UNROLL for (int h = 0; h < 2; h++) {
      const uint4 g = rows[0].of[h], g8 = rows[1].of[h];
      const uint a[2][4] = {{g.x, g8.x, g.y, g8.y}, {g.z, g8.z, g.w, g8.w}};
      UNROLL for (int m = 0; m < 2; m++) {
        const ulong b = b_operand(x_at + 512 * h + 256 * m, 128, sizeof(XBlock));
        if (h == 0 && m == 0) {
          multiply_together<false>(sums, a[m], b, T());
        } else {
          multiply_together<true>(sums, a[m], b, T());
        }
      }
    }
    close_products();
  }
};

#else

// A simdgroup has two panels and eight tiles; four simdgroups are side by side along the weight
// rows, two along the columns.
template <class T>
struct Multiplier {
  enum { kOwnPanels = 2, kOwnTiles = 8, kTilesAtOnce = 2 };

  const Stage* stages;
  const Stages& stream;
  uint warp;
  float totals[kOwnTiles / kTilesAtOnce][kOwnPanels][kTilesAtOnce][4] = {};

  GPU_FN float& total(int k) { return (&totals[0][0][0][0])[k]; }
  GPU_FN uint row_of(int k) const {
    return own_row() + k / 8 % kOwnPanels * kPanelRows + LANE / 4 + k / 2 % 2 * 8;
  }
  GPU_FN uint column_of(int k) const {
    const int tile = k / 8 / kOwnPanels * kTilesAtOnce + k / 4 % kTilesAtOnce;
    return 8 * (own_tile() + tile) + LANE % 4 * 2 + k % 2;
  }

  // Blocks first to last - 1; tiles that are not there are multiplied and not stored.
  GPU_FN void multiply_blocks(uint first, uint last, uint) {
    for (uint block = first; block < last; block++) {
      stream.wait(block);
      const Stage& stage = stages[block % kStages];
      Run w[kOwnPanels][2];
      UNROLL for (int i = 0; i < kOwnPanels; i++) {
        UNROLL for (int r = 0; r < 2; r++) {
          w[i][r] = run_at(stage.weight, own_row() + i * kPanelRows + 8 * r + LANE / 4, LANE % 4);
        }
      }
      UNROLL for (int part = 0; part < kOwnTiles / kTilesAtOnce; part++) {
        Run own[kTilesAtOnce];
        UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
          const XBlock& x = stage.x[own_tile() + part * kTilesAtOnce + j];
          UNROLL for (int h = 0; h < 2; h++) {
            own[j].of[h] = *reinterpret_cast<const uint4*>(x.words + word_of(LANE, 4 * h));
          }
        }
        float c[kOwnPanels][kTilesAtOnce][4] = {};
        multiply<T>(w, own, c);
        add(totals[part], c);
      }
      stream.release(block);
    }
  }

 private:
  GPU_FN uint own_row() const { return warp % 4 * kOwnPanels * kPanelRows; }
  GPU_FN uint own_tile() const { return warp / 4 * kOwnTiles; }
};

#endif

template <class T>
__global__ __launch_bounds__(kAllThreads, 1) void wide(const uchar* weight, const XBlock* tiles,
                                                       const float* scales, const uchar* residual,
                                                       uchar* out, const CudaDense p) {
  await_inputs();
  extern __shared__ __align__(128) uint4 shared[];  // bulk copies write whole lines of it
  __shared__ ulong barriers[kStages];
  Stage* const stages = reinterpret_cast<Stage*>(shared);
  // Sums of the slices so far, [column][weight row].
  float* const results = reinterpret_cast<float*>(stages + kStages);
  const uint warp = simd_broadcast(threadIdx.x / 32, 0), blocks = p.cols / kBlock;
  // Groups of the same weight rows are neighbours.
  const uint tile = blockIdx.x % p.tiles, first_row = blockIdx.x / p.tiles * kRows;
  const uint first_out = tile * p.tile_rows, out_rows = min(p.out_rows - first_out, p.tile_rows);
  const uint x_tiles = (out_rows * p.terms + 7) / 8;
  const Stages stream{shared_address(barriers), blocks};
  if (threadIdx.x == 0) stream.init();
  __syncthreads();
  if (warp >= kSimds) {
    give_registers<40>();
    return copy_stages(weight, tiles + ulong(tile) * blocks * kXTiles, stages, stream, first_row,
                       x_tiles, p);
  }
  take_registers<232>();
  Multiplier<T> multiplier{stages, stream, warp};
  bool first = true;
  for (uint slice = 0; slice < kCudaSlices; slice++) {
    const uint begin = slice_begin(blocks, slice), end = slice_begin(blocks, slice + 1);
    if (begin == end) continue;  // no addend
    multiplier.multiply_blocks(begin, end, x_tiles);
    UNROLL for (int k = 0; k < kTotals; k++) {
      float& own = multiplier.total(k);
      float& sum = results[multiplier.column_of(k) * kResultPitch + multiplier.row_of(k)];
      sum = first ? own : sum + own;
      own = 0.0f;
    }
    first = false;
  }

  asm volatile("bar.sync 1, %0;" ::"n"(int(kThreads)) : "memory");
  const uint own = threadIdx.x % kRows;
  if (first_row + own >= p.rows) return;
  for (uint i = threadIdx.x / kRows; i < out_rows; i += kThreads / kRows) {
    const float* from = results + i * p.terms * kResultPitch + own;
    float sum = from[0];
    for (uint k = 1; k < p.terms; k++) sum = sum + from[k * kResultPitch];
    const uint out_row = first_out + i;
    store(p, residual, out, out_row, first_row + own, p.scaled != 0 ? sum * scales[out_row] : sum);
  }
}

#define CUDA_DENSE_WIDE(name, T)                        \
  INSTANTIATE(matmul_dense_tiles_##name, tile_terms, T) \
  INSTANTIATE(matmul_dense_wide_##name, wide, T)
CUDA_DENSE_WIDE(f16, half)
CUDA_DENSE_WIDE(bf16, bfloat)

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
