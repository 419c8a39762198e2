// SPDX-License-Identifier: Apache-2.0
// What the CUDA kernels of matmul get besides their buffers: a weight in panels (quant/panels.h).
#pragma once

#include "kernels/matmul/gpu_args.h"

// Of the f32 sums along K: the spans of 256 elements are cut into this many runs, each summed by
// itself, and the runs' sums added in order. A function of K alone, so that a result has the same
// bits beside any number of rows.
enum { kCudaSlices = 8 };

// Weights that a launch may multiply with the same rows of x; all have the same format and K.
enum { kCudaWeights = 3 };

// None: every weight has an out. Else weights 0 and 1 are gate and up, whose panels take turns, and
// out is activation(gate) * up.
enum CudaGate { kCudaNotGated, kCudaGeluTanh, kCudaSilu };

struct CudaMatmul {
  unsigned int rows[kCudaWeights];           // N of each weight, of one expert
  unsigned int panel_ends[kCudaWeights];     // panels of the weights up to each
  unsigned int cols;                         // K, a multiple of 32
  unsigned int experts;                      // E
  unsigned int out_rows;                     // rows of out, residual and ids
  unsigned int rows_per_x;                   // out row r multiplies x row r / rows_per_x
  unsigned int tiles;                        // tiles of out rows
  unsigned int parts;                        // groups of threads of an out row
  unsigned int part_turns, longer_parts;     // turns of a part; the first ones have one more
  unsigned int team_simds;                   // slices that have a span
  unsigned int team_share;                   // 2^16 / team_simds, rounded up
  unsigned int slice_list;                   // the slices that have a span, in order, 4 bits each
  unsigned int prepared;                     // 1: no kernel in front writes the weights
  unsigned int slices;                       // bit i: slice i has a span
  unsigned int panels;                       // of all weights, of one expert
  unsigned int expert_panels;                // from one expert to the next in memory
  unsigned int spans;                        // of a panel; the last may be shorter
  unsigned int span_bytes;                   // of a whole one
  unsigned int head_bytes, last_head_bytes;  // before the words of a span, of the last span
  unsigned int biases_at, last_biases_at;    // in the head
  unsigned int panel_bytes;
  unsigned int group_shift;   // 2^group_shift blocks of 32 share a scale of the array
  unsigned int scale_type;    // a GpuMatmulType
  unsigned int has_biases;    // 0: they are zero
  unsigned int has_ids;       // 1: out row r takes expert ids[r], or zeros
  unsigned int has_residual;  // 1: it is added
  unsigned int out_type;      // a GpuMatmulType
  unsigned int gated;         // a CudaGate
  // The kernel for many rows:
  unsigned int x_tiles;       // XTiles of a block of K in memory
  unsigned int x_stages;      // blocks of x in threadgroup memory
  unsigned int panel_groups;  // groups of threads of a tile
  unsigned int sorted;        // 1: rows are sorted by expert, tiles are CudaRowTiles
};

// Rows of x sorted by expert: a tile of rows for one expert.
struct CudaRowTile {
  unsigned int expert;  // E: none, results are zeros
  unsigned int first;   // XTile
  unsigned int count;   // XTiles, up to 16; 0: nothing to do
  unsigned int unused;
};

// Sorting of out rows by expert: every expert's rows start at an XTile of their own.
struct CudaSort {
  unsigned int rows;       // of out and ids
  unsigned int experts;    // E
  unsigned int x_tiles;    // there is room for
  unsigned int row_tiles;  // there is room for
};

// Preparation of x: f32 rows, or terms (cuda_tile.h).
struct CudaStage {
  unsigned int rows, cols;
  unsigned int rows_per_x;  // sorted: out row r is x row r / rows_per_x
  unsigned int sorted;      // 1: terms are of out rows in the order of CudaSort
  unsigned int tiles;       // of 8 rows that terms have
  unsigned int x_type;      // a GpuMatmulType
  unsigned int run_order;   // 1: RunOrder, 0: SplitOrder
};

// Weights stored as floats (cuda_dense.h). An element of x is the sum of `terms` columns.
struct CudaDense {
  unsigned int rows, cols;  // N, K; K a multiple of 64
  unsigned int out_rows;
  unsigned int terms;      // 1 or 2
  unsigned int slices;     // bit i: slice i has a block
  unsigned int tiles;      // of rows of x
  unsigned int tile_rows;  // of x
  unsigned int scaled;     // 1: terms are of x times a power of two of each row
  unsigned int has_residual;
  unsigned int x_type, out_type;  // GpuMatmulTypes
};

// Packing of rows into panels.
struct CudaPack {
  unsigned int rows, cols;
  unsigned int panels;  // of one expert
  unsigned int spans;
  unsigned int span_bytes, head_bytes, last_head_bytes;
  unsigned int panel_bytes;
  unsigned int row_bytes, row_scale_bytes;
  unsigned int block_elements;      // of one block
  unsigned int words, words_at;     // 32-bit words of a block, their first byte
  unsigned int side_size, side_at;  // bytes beside the words
  unsigned int group_size, scale_size, has_biases;
};
