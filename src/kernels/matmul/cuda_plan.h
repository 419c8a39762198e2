// SPDX-License-Identifier: Apache-2.0
// How the CUDA kernels of matmul cut a call: functions of the call and of the GPU's limits, which
// a launch of the plan keeps. The kernels here give one result, gpu.h another, both within the
// tolerance: which of them runs depends on the weight and the limits, never on the number of rows.
#pragma once

#include <cstdint>

#include "backends/gpu.h"
#include "kernels/matmul/params.h"
#include "quant/panels.h"

namespace mlxn::kernels::mma {

// As in the kernels.
inline constexpr int64_t kPanelRows = quant::PanelLayout::kRows;
inline constexpr int64_t kSpanElements = quant::PanelLayout::kSpanElements;
inline constexpr int64_t kWidePanels = 8, kWideRows = 128;
inline constexpr int64_t kXTileRows = 8;

// The panels of a weight along K.
struct Spans {
  explicit Spans(const quant::WeightView& w);

  quant::PanelLayout layout;
  int64_t count;
  int64_t last_elements;
};

enum class Kernel {
  kSingle,
  kNarrow,
  kWide,
  kSorted,  // the wide one, with out rows sorted by expert
  kGpu      // none of these but gpu.h; gate and up: none for both, each is planned by itself
};

// How a call with a weight in panels is cut.
struct Plan {
  Kernel kernel;
  int64_t rows;   // of x in a tile
  int64_t tiles;  // of out rows
  int64_t parts;  // groups of an out row, of the kernel for one row
  int64_t groups;
  int64_t threads;   // of a group
  int64_t memory;    // of a group
  int64_t x_stages;  // blocks of x in it, of the wide kernel
};

// The kernel with the fewest bytes to read, of those whose memory the GPU has. A launch multiplies
// `panels` of weights like p.weight, `together` of which are worked on side by side: 2 of gate and
// up, else 1.
Plan plan_of(const MatmulParams& p, const Spans& spans, int64_t panels, int64_t together,
             const backends::GpuLimits& limits);

// Terms of an element of x, and bytes of eight rows of x in a block of 32 with their sums.
int x_terms(const MatmulParams& p);
int64_t x_tile_bytes(const MatmulParams& p);

// XTiles and tiles of rows that sorted rows may need: each expert, and none, may leave one partly
// empty.
int64_t sorted_x_tiles(const MatmulParams& p);
int64_t sorted_row_tiles(const MatmulParams& p);

enum class DenseKernel { kSingle, kNarrow8, kNarrow24, kWide };

// How a call with a weight stored as floats is cut.
struct DensePlan {
  DenseKernel kernel;
  int64_t rows;       // of x in a launch
  int64_t tile_rows;  // of x in a tile of a launch
  int64_t groups;     // of a launch of all its rows
  int64_t threads;    // of a group
  int64_t memory;     // of a group
};
DensePlan dense_plan_of(const MatmulParams& p, const backends::GpuLimits& limits);

// Terms of an element of x that a weight of this format takes.
int64_t dense_terms(const MatmulParams& p);

}  // namespace mlxn::kernels::mma
