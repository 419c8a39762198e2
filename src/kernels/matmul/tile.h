// SPDX-License-Identifier: Apache-2.0
// How a CPU matmul is cut: staging of x, then tiles of (rows of x) x (rows of one expert). An
// implementation supplies the two functions; schedule.cc decides the tasks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/matmul/params.h"

namespace mlxn::kernels::matmul {

inline constexpr int kMaxTileRows = 64;  // of x: their staged form stays in L2

// The rows of x that meet one expert's weight.
struct TileRows {
  int count = 0;  // 1 .. kMaxTileRows
  int64_t x_row[kMaxTileRows];
  int64_t out_row[kMaxTileRows];
};

struct Tile {
  const MatmulParams* params;
  const std::byte* staged;  // x_rows rows of staged_row_bytes
  int64_t staged_row_bytes;
  int64_t expert;
  int64_t n_begin, n_end;  // weight rows
  const TileRows* rows;

  const std::byte* staged_row(int m) const { return staged + rows->x_row[m] * staged_row_bytes; }
};

struct CpuKernel {
  const char* name;
  // Bytes of one staged row; 0: x is used as it is.
  int64_t (*staged_row_bytes)(const MatmulParams&);
  // Elements [begin, end) of x, counted over all rows; begin is a multiple of 32.
  void (*stage)(const MatmulParams&, int64_t begin, int64_t end, std::byte* staged);
  void (*run)(const Tile&);
};

// out[row, n_begin + i] = values[i] + residual, rounded once.
void store_row(const MatmulParams& p, int64_t out_row, int64_t n_begin, int64_t count,
               const float* values);

// Records staging and tiles; with ids also the grouping of rows by expert.
void launch(StreamImpl& stream, const MatmulParams& p, backends::Access access,
            const CpuKernel& kernel);

}  // namespace mlxn::kernels::matmul
