// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul/cuda_plan.h"

#include <algorithm>
#include <bit>

#include "kernels/common/gpu_launch.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_launch.h"

namespace mlxn::kernels::mma {
namespace {

using quant::WeightView;

// As in the kernels.
constexpr int64_t kStages = 2, kNarrowPanels = 2, kNarrowThreads = 256;
constexpr int64_t kWideThreads = 384, kLeastXStages = 2, kMostXStages = 16;
constexpr int64_t kTurns = 4, kMaxTeams = 14, kMaxSimds = 16;

// Bytes that the kernels have beside the memory asked for, at most.
constexpr int64_t kSingleStatic = 1 << 10, kNarrowStatic = 2 << 10, kWideStatic = 1 << 10;
constexpr int64_t kDenseSingleStatic = 5 << 10;

// Rows of x of the narrow kernel with more of them.
constexpr int64_t kMostNarrow = 16;
// Up to this many rows of x the weights are read again for every 16 rows.
constexpr int64_t kNarrowRows = 64;

// Scales, and biases, of a block of 32 in the tables of codecs that have one.
int64_t scales_of_block(const WeightView& w) {
  switch (w.format) {
    case Format::kQ2_K:
      return 4;
    case Format::kQ3_K:
    case Format::kQ6_K:
    case Format::kMlxNvfp4:
    case Format::kQ4_K:
    case Format::kQ5_K:
    case Format::kAffine:
      return 2;
    case Format::kIQ4_XS:
      return 1;
    default:
      return 0;
  }
}
int64_t scale_bytes(const WeightView& w) { return 8 * scales_of_block(w) * kPanelRows * 4; }

int64_t narrow_memory(const Spans& spans, const WeightView& w, int64_t rows) {
  const int64_t panels = kCudaSlices * kNarrowPanels;
  const int64_t partial_bytes = panels * kPanelRows * rows * 4;
  const int64_t stage_bytes = kStages * spans.layout.full_span_bytes();
  return std::max(partial_bytes, panels * (stage_bytes + scale_bytes(w)));
}
int64_t single_memory(const Spans& spans, const WeightView& w, int64_t simds) {
  // Terms of x, sums of pairs of blocks, totals, stages of spans.
  return w.cols * 4 + divide_up(w.cols, 64) * 16 +
         simds * (kTurns * kPanelRows * 4 + kStages * spans.layout.full_span_bytes());
}
// Of the wide kernel, with as many blocks of x as there is room for.
struct WideMemory {
  WideMemory(const Spans& spans, const MatmulParams& p, int64_t limit) {
    const int64_t block = kWideRows / kXTileRows * x_tile_bytes(p);
    const int64_t rest =
        kWidePanels * (kStages * spans.layout.full_span_bytes() + scale_bytes(p.weight)) +
        kWidePanels * kPanelRows * kWideRows * 4;
    x_stages = std::clamp((limit - kWideStatic - rest) / block, kLeastXStages, kMostXStages);
    bytes = rest + x_stages * block;
    fits = bytes <= limit - kWideStatic;
  }

  int64_t x_stages;
  int64_t bytes;  // of a group
  bool fits;
};

// Whether so many out rows ask each expert that sorting them, so that a tile of rows reads its
// weight once, pays.
bool sorting_pays(const MatmulParams& p) {
  return p.out_rows > kNarrowRows && p.out_rows >= 2 * p.weight.num_experts;
}

}  // namespace

Spans::Spans(const WeightView& w)
    : layout(quant::panel_layout(w)),
      count(divide_up(w.cols, kSpanElements)),
      last_elements(w.cols - (count - 1) * kSpanElements) {}

int x_terms(const MatmulParams& p) { return p.x_dtype == DType::kBF16 ? 1 : 2; }
int64_t x_tile_bytes(const MatmulParams& p) {
  constexpr int64_t kTermBytes = kXTileRows * 32 * 2, kSumBytes = kXTileRows * 4 * 4;
  return x_terms(p) * kTermBytes + kSumBytes;
}

int64_t sorted_x_tiles(const MatmulParams& p) {
  return divide_up(p.out_rows, kXTileRows) + p.weight.num_experts + 1;
}
int64_t sorted_row_tiles(const MatmulParams& p) {
  return divide_up(p.out_rows, kWideRows) + p.weight.num_experts + 1;
}

Plan plan_of(const MatmulParams& p, const Spans& spans, int64_t panels, int64_t together,
             const backends::GpuLimits& limits) {
  constexpr int64_t kMaxExperts = 4096;
  const WeightView& w = p.weight;
  const auto memory_limit = static_cast<int64_t>(limits.threadgroup_memory);
  const int64_t single_room = memory_limit - kSingleStatic;
  const WideMemory wide(spans, p, memory_limit);
  const Plan gpu = {.kernel = Kernel::kGpu,
                    .rows = 0,
                    .tiles = 0,
                    .parts = 0,
                    .groups = 0,
                    .threads = 0,
                    .memory = 0,
                    .x_stages = 0};
  const Plan sorted = {.kernel = Kernel::kSorted,
                       .rows = kWideRows,
                       .tiles = sorted_row_tiles(p),
                       .parts = 0,
                       .groups = divide_up(panels, kWidePanels) * sorted_row_tiles(p),
                       .threads = kWideThreads,
                       .memory = wide.bytes,
                       .x_stages = wide.x_stages};
  // The kernel that every number of rows may come to.
  if (narrow_memory(spans, w, kMostNarrow) > memory_limit - kNarrowStatic) return gpu;
  const bool sorts = p.ids != nullptr && w.num_experts <= kMaxExperts && wide.fits;
  if (sorts && sorting_pays(p)) return sorted;
  if (p.ids != nullptr || p.out_rows == 1) {
    // A group per compute unit, with as many teams as have room and work.
    const int64_t turns = panels / together;
    const int64_t parts =
        std::clamp<int64_t>(limits.compute_units / p.out_rows, 1, std::max<int64_t>(turns, 1));
    const int64_t simds = std::popcount(cuda_slices(spans.count));
    const int64_t most = std::min(kMaxTeams, kMaxSimds / simds) / together * together;
    int64_t teams = std::min(most, together * std::max<int64_t>(divide_up(turns, parts), 1));
    while (teams > together && single_memory(spans, w, teams * simds) > single_room)
      teams -= together;
    const int64_t memory = single_memory(spans, w, teams * simds);
    // More than half a compute unit's memory, so that no two groups that start early share one.
    constexpr int64_t kAlone = 116 << 10;
    if (memory <= single_room) {
      return {.kernel = Kernel::kSingle,
              .rows = 1,
              .tiles = p.out_rows,
              .parts = parts,
              .groups = parts * p.out_rows,
              .threads = teams * simds * 32,
              .memory = std::max(memory, std::min(kAlone, single_room) / 16 * 16),
              .x_stages = 0};
    }
  }
  // Rows of x for experts that are longer than the memory of a compute unit. Gate and up fit one
  // after the other before the wide kernel pays.
  if (p.ids != nullptr) return sorts && together == 1 ? sorted : gpu;
  if (p.out_rows > kNarrowRows && wide.fits) {
    const int64_t tiles = divide_up(p.out_rows, kWideRows);
    return {.kernel = Kernel::kWide,
            .rows = kWideRows,
            .tiles = tiles,
            .parts = 0,
            .groups = divide_up(panels, kWidePanels) * tiles,
            .threads = kWideThreads,
            .memory = wide.bytes,
            .x_stages = wide.x_stages};
  }
  const int64_t rows = p.out_rows <= 8 ? 8 : kMostNarrow, tiles = divide_up(p.out_rows, rows);
  return {.kernel = Kernel::kNarrow,
          .rows = rows,
          .tiles = tiles,
          .parts = 0,
          .groups = divide_up(panels, kNarrowPanels) * tiles,
          .threads = kNarrowThreads,
          .memory = narrow_memory(spans, w, rows),
          .x_stages = 0};
}

int64_t dense_terms(const MatmulParams& p) { return p.x_dtype == DType::kF32 ? 2 : 1; }

DensePlan dense_plan_of(const MatmulParams& p, const backends::GpuLimits& limits) {
  // As in the kernels.
  constexpr int64_t kBlock = 64, kTeams = 2, kTeamThreads = 256;
  constexpr int64_t kDenseStages = 3, kMostColumns = 24, kResultPitch = 132;
  const bool wide_elements = p.weight.format == Format::kF32;
  const int64_t element_bytes = wide_elements ? 4 : 2;
  const int64_t block_bytes = kPanelRows * kBlock * element_bytes;
  const int64_t single_stages = wide_elements ? 2 : 5, narrow_panels = wide_elements ? 1 : 2;
  const int64_t wide_stages = wide_elements ? 3 : 4;
  const auto memory_limit = static_cast<int64_t>(limits.threadgroup_memory);
  const int64_t terms = dense_terms(p), panels = divide_up(p.weight.rows, kPanelRows);
  const int64_t single_memory =
      terms * (p.weight.cols + 32) * 2 + kTeams * kCudaSlices * single_stages * block_bytes;
  if (p.out_rows == 1 && single_memory <= memory_limit - kDenseSingleStatic) {
    return {.kernel = DenseKernel::kSingle,
            .rows = 1,
            .tile_rows = 1,
            .groups = std::min<int64_t>(limits.compute_units, panels),
            .threads = kTeams * kTeamThreads,
            .memory = single_memory};
  }
  // Beside blocks of the weight those of x, in 16 bits, and the sums.
  const int64_t wide_memory =
      wide_stages * kWideRows * kBlock * (element_bytes + 2) + kWideRows * kResultPitch * 4;
  constexpr int64_t kWideStatic = 128;
  if (p.out_rows * terms > kMostColumns && wide_memory <= memory_limit - kWideStatic) {
    const int64_t tile_rows = kWideRows / terms;
    return {
        .kernel = DenseKernel::kWide,
        .rows = p.out_rows,
        .tile_rows = tile_rows,
        .groups = int64_t{divide_up(p.weight.rows, kWideRows)} * divide_up(p.out_rows, tile_rows),
        .threads = kWideThreads,
        .memory = wide_memory};
  }
  // Every GPU of compute capability 8.0 and later has this much.
  constexpr int64_t kNarrowMemory = kCudaSlices * kDenseStages * 2 * kPanelRows * kBlock * 2;
  static_assert(kNarrowMemory <= 99 << 10);
  const int64_t rows = std::min(p.out_rows, kMostColumns / terms);
  return {.kernel = rows * terms <= 8 ? DenseKernel::kNarrow8 : DenseKernel::kNarrow24,
          .rows = rows,
          .tile_rows = rows,
          .groups = divide_up(panels, narrow_panels),
          .threads = kTeamThreads,
          .memory = kNarrowMemory};
}

}  // namespace mlxn::kernels::mma
