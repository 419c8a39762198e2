// SPDX-License-Identifier: Apache-2.0
// Many columns times weights stored as floats: a group takes 128 rows of the weight times up to 128
// columns, those of the first terms of rows of x and then those of the second. Eight simdgroups
// multiply, four copy, four blocks of 64 ahead (f32 weights: three).
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
  kTotals = 64,  // of a lane
  kResultPitch = kRows + 4
};
template <class W>
constexpr uint kStages = W::kBytes == 2 ? 4 : 3;

// Eight columns of a block: pairs of elements, by lane.
struct XBlock {
  uint words[256];
};
template <class W>
struct Stage {
  uchar weight[kRows * W::kBytes * kBlock];
  XBlock x[kXTiles];
};

// Where columns of the second terms begin in a tile of so many rows of x. Half the columns are
// multiplied where that is enough.
GPU_FN uint second_terms_at(const CudaDense& p, uint rows) {
  return rows > p.tile_rows / 2 ? p.tile_rows : p.tile_rows / 2;
}

// Where pair i of a lane lies: those of mma 0 to 3 one behind the other, in matrices of eight
// columns by eight elements for warpgroups, else so that a lane finds four pairs side by side.
GPU_FN uint word_of(uint lane, uint i) {
  return MLXN_WARPGROUPS ? 32 * i + lane : (i / 4 * 32 + lane) * 4 + i % 4;
}

// A group per row of x, and per row of zeros behind the last one.
template <class W>
__global__ void tile_terms(const uchar* x, XBlock* tiles, float* scales, const CudaDense p) {
  await_inputs();
  const uint row = blockIdx.x, blocks = p.cols / kBlock, tile = row / p.tile_rows;
  const uint second_at = second_terms_at(p, min(p.out_rows - tile * p.tile_rows, p.tile_rows));
  XBlock* const own = tiles + ulong(tile) * blocks * kXTiles;
  const auto put = [&](uint k, uint i, uint pair) {
    // Pairs of a half of a block: four of lane 0, four of lane 1 ...
    const uint column = row % p.tile_rows + k * second_at;
    const uint lane = column % 8 * 4 + i % 16 / 4, own_pair = i % 32 / 16 * 4 + i % 4;
    own[i / 32 * kXTiles + column / 8].words[word_of(lane, own_pair)] = pair;
  };
  if (row < p.out_rows) {
    const float scale = make_terms<W>(x, row, p, put);
    if (p.scaled != 0 && threadIdx.x == 0) scales[row] = scale;
    return;
  }
  for (uint k = 0; k < p.terms; k++) {
    for (uint i = threadIdx.x; i < p.cols / 2; i += blockDim.x) put(k, i, 0);
  }
}

// Where a piece of 16 bytes of a row of a block lies: rows g and g + 1 of a simdgroup meet in no
// bank.
template <class W>
GPU_FN uint piece_at(uint row, uint piece) {
  return row * (kBlock * W::kBytes) + (piece ^ row % 2 * 4) * 16;
}

// Stages on their way. Of each place a barrier in memory says that it is filled, and a named one, 2
// and on, that it has been read.
template <class W>
struct Stages {
  static constexpr uint kPlaces = kStages<W>;
  uint barriers, blocks;

  GPU_FN void init() const {
    for (uint i = 0; i < kPlaces; i++) init_barrier(filled(i), kCopyThreads + MLXN_BULK_COPIES);
    publish_barriers();
  }
  GPU_FN uint filled(uint block) const { return barriers + 8 * (block % kPlaces); }
  GPU_FN void wait(uint block) const { wait_barrier(filled(block), block / kPlaces & 1); }
  // By those that multiply; of the last blocks nobody asks.
  GPU_FN void release(uint block) const {
    if (block + kPlaces >= blocks) return;
    asm volatile("bar.arrive %0, %1;" ::"r"(2 + block % kPlaces), "n"(int(kAllThreads)) : "memory");
  }
  // By those that copy, before they do.
  GPU_FN void wait_read(uint block) const {
    if (block < kPlaces) return;
    asm volatile("bar.sync %0, %1;" ::"r"(2 + block % kPlaces), "n"(int(kAllThreads)) : "memory");
  }
};

// By kCopyThreads threads.
template <class W>
GPU_FN void copy_stages(const uchar* weight, const XBlock* x, Stage<W>* stages,
                        const Stages<W>& stream, uint first_row, uint x_tiles, const CudaDense& p) {
  enum { kRowPieces = 4 * W::kPieces, kOwn = kRows * kRowPieces / kCopyThreads };
  const uint own = threadIdx.x - kThreads, blocks = p.cols / kBlock;
  const uint own_row = own / kRowPieces, own_piece = own % kRowPieces;
  const uchar* from = weight + own_piece * 16;
  for (uint block = 0; block < blocks; block++, x += kXTiles, from += W::kBytes * kBlock) {
    Stage<W>& to = stages[block % kStages<W>];
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
      const uint row = own_row + kRows / kOwn * i, last = p.rows - 1;
      copy_ahead(rows + piece_at<W>(row, own_piece),
                 from + ulong(min(first_row + row, last)) * (W::kBytes * p.cols));
    }
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
  }
  close_copies();
  wait_copies<0>();  // copies do not outlive the threads that have started them
}

// Row r, g or g + 8, of panel i that is at `row` of a stage.
template <class W, int kPanels>
GPU_FN void load_row(const uchar* rows, uint row, int i, int r, Operand<W, kPanels>& w) {
  uint4 pieces[W::kPieces];
  UNROLL for (uint k = 0; k < W::kPieces; k++) {
    pieces[k] = *reinterpret_cast<const uint4*>(rows + piece_at<W>(row, LANE % 4 + 4 * k));
  }
  take_row(pieces, i, r, w);
}

#if MLXN_WARPGROUPS

// A simdgroup has sixteen rows and all columns; four of them multiply together, and while they add
// sums, the other four multiply.
template <class W>
struct Multiplier {
  const Stage<W>* stages;
  const Stages<W>& stream;
  uint warp;
  float totals[kXTiles][4] = {};

  GPU_FN float& total(int k) { return totals[k / 4][k % 4]; }
  GPU_FN uint row_of(int k) const { return warp * kPanelRows + LANE / 4 + k / 2 % 2 * 8; }
  GPU_FN uint column_of(int k) const { return k / 4 * 8 + LANE % 4 * 2 + k % 2; }

  // Blocks first to last - 1.
  GPU_FN void multiply_blocks(uint first, uint last, uint x_tiles, uint terms) {
    const bool halves = W::kTerms == 2 && terms == 2;
    if (x_tiles > kXTiles / 2) {
      if (halves) return multiply_tiles<kXTiles, kXTiles / 2>(first, last);
      multiply_tiles<kXTiles, kXTiles>(first, last);
    } else {
      if (halves) return multiply_tiles<kXTiles / 2, kXTiles / 4>(first, last);
      multiply_tiles<kXTiles / 2, kXTiles / 2>(first, last);
    }
  }

 private:
  // kFirst: tiles of first terms of x.
  template <int kTiles, int kFirst>
  GPU_FN void multiply_tiles(uint first, uint last) {
    // Where registers allow, a block is loaded while the one before is multiplied.
    constexpr bool kAhead = W::kTerms == 1;
    Operand<W, 1> next;
    if (kAhead) load(first, next);
#pragma unroll 1
    for (uint block = first; block < last; block++) {
      if (!kAhead) load(block, next);
      const Operand<W, 1> w = next;
      float sums[kTiles][4];
      const uint x = shared_address(stages[block % kStages<W>].x);
      open_products();
      multiply_columns<false>(w.terms[0][0], x, sums);
      if constexpr (W::kTerms == 2) {
        float(&first_sums)[kFirst][4] = *reinterpret_cast<float(*)[kFirst][4]>(sums);
        multiply_columns<true>(w.terms[1][0], x, first_sums);
      }
      close_products();
      if (kAhead && block + 1 < last) load(block + 1, next);
      wait_products<0>(sums);
      hold_terms(w);
      UNROLL for (int j = 0; j < kTiles; j++) {
        UNROLL for (int k = 0; k < 4; k++) {
          totals[j][k] = W::kLifted ? fmaf(w.scales[0][k / 2], sums[j][k], totals[j][k])
                                    : totals[j][k] + sums[j][k];
        }
      }
      stream.release(block);
    }
  }

  static GPU_FN void hold_terms(const Operand<W, 1>& w) {
    UNROLL for (int term = 0; term < W::kTerms; term++) {
      UNROLL for (int r = 0; r < 2; r++) {
        UNROLL for (int h = 0; h < 2; h++) {
          const uint4 of = w.terms[term][0][r].of[h];
          hold(of.x), hold(of.y), hold(of.z), hold(of.w);
        }
      }
    }
  }

  GPU_FN void load(uint block, Operand<W, 1>& w) const {
    stream.wait(block);
    UNROLL for (int r = 0; r < 2; r++) {
      load_row(stages[block % kStages<W>].weight, warp * kPanelRows + 8 * r + LANE / 4, 0, r, w);
    }
  }

  // Rows g and g + 8 times kTiles tiles of x; kAdds: sums are added to.
  template <bool kAdds, int kTiles>
  static GPU_FN void multiply_columns(const Run (&rows)[2], uint x_at, float (&sums)[kTiles][4]) {
    UNROLL for (int h = 0; h < 2; h++) {
      const uint4 g = rows[0].of[h], g8 = rows[1].of[h];
      const uint a[2][4] = {{g.x, g8.x, g.y, g8.y}, {g.z, g8.z, g.w, g8.w}};
      UNROLL for (int m = 0; m < 2; m++) {
        const ulong b = b_operand(x_at + 512 * h + 256 * m, 128, sizeof(XBlock));
        if (h == 0 && m == 0) {
          multiply_together<kAdds>(sums, a[m], b, typename W::Element());
        } else {
          multiply_together<true>(sums, a[m], b, typename W::Element());
        }
      }
    }
  }
};

#else

// A simdgroup has two panels and eight tiles; four simdgroups are side by side along the weight
// rows, two along the columns.
template <class W>
struct Multiplier {
  enum { kOwnPanels = 2, kOwnTiles = 8, kTilesAtOnce = 2 };

  const Stage<W>* stages;
  const Stages<W>& stream;
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
  GPU_FN void multiply_blocks(uint first, uint last, uint x_tiles, uint terms) {
    const uint first_terms = x_tiles / terms;  // tiles; all, or as many as there are second ones
    for (uint block = first; block < last; block++) {
      stream.wait(block);
      const Stage<W>& stage = stages[block % kStages<W>];
      Operand<W, kOwnPanels> w;
      UNROLL for (int i = 0; i < kOwnPanels; i++) {
        UNROLL for (int r = 0; r < 2; r++) {
          load_row(stage.weight, own_row() + i * kPanelRows + 8 * r + LANE / 4, i, r, w);
        }
      }
      UNROLL for (int part = 0; part < kOwnTiles / kTilesAtOnce; part++) {
        const uint tile = own_tile() + part * kTilesAtOnce;
        Run own[kTilesAtOnce];
        UNROLL for (int j = 0; j < kTilesAtOnce; j++) {
          const XBlock& x = stage.x[tile + j];
          UNROLL for (int h = 0; h < 2; h++) {
            own[j].of[h] = *reinterpret_cast<const uint4*>(x.words + word_of(LANE, 4 * h));
          }
        }
        float c[kOwnPanels][kTilesAtOnce][4] = {};
        multiply<typename W::Element>(w.terms[0], own, c);
        if constexpr (W::kTerms == 2) {
          if (tile < first_terms) multiply<typename W::Element>(w.terms[1], own, c);
        }
        add(w, c, totals[part]);
      }
      stream.release(block);
    }
  }

 private:
  GPU_FN uint own_row() const { return warp % 4 * kOwnPanels * kPanelRows; }
  GPU_FN uint own_tile() const { return warp / 4 * kOwnTiles; }
};

#endif

template <class W>
__global__ __launch_bounds__(kAllThreads, 1) void wide(const uchar* weight, const XBlock* tiles,
                                                       const float* scales, const uchar* residual,
                                                       uchar* out, const CudaDense p) {
  await_inputs();
  extern __shared__ __align__(128) uint4 shared[];  // bulk copies write whole lines of it
  __shared__ ulong barriers[kStages<W>];
  Stage<W>* const stages = reinterpret_cast<Stage<W>*>(shared);
  // Sums of the slices so far, [column][weight row].
  float* const results = reinterpret_cast<float*>(stages + kStages<W>);
  const uint warp = simd_broadcast(threadIdx.x / 32, 0), blocks = p.cols / kBlock;
  // Groups of the same weight rows are neighbours.
  const uint tile = blockIdx.x % p.tiles, first_row = blockIdx.x / p.tiles * kRows;
  const uint first_out = tile * p.tile_rows, out_rows = min(p.out_rows - first_out, p.tile_rows);
  const uint second_at = second_terms_at(p, out_rows);
  const uint x_tiles = p.terms == 2 ? second_at / 4 : (out_rows + 7) / 8;
  const Stages<W> stream{shared_address(barriers), blocks};
  if (threadIdx.x == 0) stream.init();
  __syncthreads();
  if (warp >= kSimds) {
    give_registers<40>();
    return copy_stages(weight, tiles + ulong(tile) * blocks * kXTiles, stages, stream, first_row,
                       x_tiles, p);
  }
  take_registers<232>();
  Multiplier<W> multiplier{stages, stream, warp};
  bool first = true;
  for (uint slice = 0; slice < kCudaSlices; slice++) {
    const uint begin = slice_begin(blocks, slice), end = slice_begin(blocks, slice + 1);
    if (begin == end) continue;  // no addend
    multiplier.multiply_blocks(begin, end, x_tiles, p.terms);
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
    const float* from = results + i * kResultPitch + own;
    float sum = from[0];
    if (p.terms == 2) sum = sum + from[second_at * kResultPitch];
    const uint out_row = first_out + i;
    store(p, residual, out, out_row, first_row + own, p.scaled != 0 ? sum * scales[out_row] : sum);
  }
}

#define CUDA_DENSE_WIDE(name, ...)                                \
  INSTANTIATE(matmul_dense_tiles_##name, tile_terms, __VA_ARGS__) \
  INSTANTIATE(matmul_dense_wide_##name, wide, __VA_ARGS__)
CUDA_DENSE_WIDE(f16, AsStored<half>)
CUDA_DENSE_WIDE(bf16, AsStored<bfloat>)
CUDA_DENSE_WIDE(bf16_lifted, Lifted<bfloat>)
CUDA_DENSE_WIDE(f32, Lifted<float>)

}  // namespace kernels_matmul_dense
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
