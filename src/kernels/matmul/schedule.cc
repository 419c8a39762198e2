// SPDX-License-Identifier: Apache-2.0
// Cuts a matmul into tasks. The cut depends on shapes only; ids are read when the work runs, so
// that a replayed graph follows them.
#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/common/float_io.h"
#include "kernels/matmul/tile.h"

namespace mlxn::kernels::matmul {
namespace {

using backends::cpu::CpuStream;

constexpr const char* kMatmul = "matmul";
constexpr const char* kExpertMatmul = "expert_matmul";
constexpr int64_t kRowStep = 16;  // weight rows a task starts at: whole panels
// A task streams a 64th of the weight, within limits: enough tasks for many threads, each long
// enough that its start, before anything was fetched ahead, does not count.
constexpr int64_t kTasksWanted = 64;
constexpr int64_t kMinTaskBytes = 64 * 1024, kMaxTaskBytes = 1024 * 1024;
constexpr int64_t kTaskProducts = 64 << 20;   // about 300 microseconds of arithmetic
constexpr int64_t kStageElements = 2 * 1024;  // about a microsecond

// Weight rows per task, for tiles of tile_rows rows of x, of which there are `tiles`.
int64_t rows_per_task(const MatmulParams& p, int64_t tile_rows, int64_t tiles) {
  const int64_t task_bytes =
      std::clamp(p.weight.expert_bytes / kTasksWanted, kMinTaskBytes, kMaxTaskBytes);
  const int64_t by_bytes = task_bytes / p.weight.row_bytes;
  const int64_t by_products = kTaskProducts / (tile_rows * p.weight.cols);
  // Tiles of many rows are bound by arithmetic, and the longer the better while there are enough.
  const int64_t by_count = base::ceil_div(p.weight.rows * tiles, kTasksWanted);
  const int64_t wanted = std::min(std::max(by_bytes, by_count), by_products);
  const int64_t rows = std::max<int64_t>(1, wanted / kRowStep) * kRowStep;
  return std::min(rows, base::round_up(p.weight.rows, kRowStep));
}

// Records the staging of x; returns its memory, empty if x is used as it is.
Buffer stage(CpuStream& stream, const char* op, const MatmulParams& p,
             const backends::Access& access, const CpuKernel& kernel) {
  const int64_t row_bytes = kernel.staged_row_bytes(p);
  if (row_bytes == 0) return {};
  const Buffer staged = stream.scratch(static_cast<size_t>(p.x_rows * row_bytes));
  backends::Access staging = access;
  staging.writes.clear();
  staging.write(staged);
  const int64_t total = p.x_rows * p.weight.cols;
  const int64_t tasks = base::ceil_div(total, kStageElements);
  stream.dispatch(op, kernel.name, std::move(staging), tasks,
                  [p, kernel, total, target = staged.data()](uint32_t task) {
                    const int64_t begin = task * kStageElements;
                    kernel.stage(p, begin, std::min(total, begin + kStageElements), target);
                  });
  return staged;
}

Tile make_tile(const MatmulParams& p, const Buffer& staged, const CpuKernel& kernel) {
  const bool direct = !staged.valid();
  return {.params = &p,
          .staged = direct ? static_cast<const std::byte*>(p.x) : staged.data(),
          .staged_row_bytes = direct ? p.weight.cols * static_cast<int64_t>(size_of(p.x_dtype))
                                     : kernel.staged_row_bytes(p),
          .expert = 0,
          .n_begin = 0,
          .n_end = 0,
          .rows = nullptr};
}

void launch_dense_rows(CpuStream& stream, const MatmulParams& p, backends::Access access,
                       const CpuKernel& kernel) {
  const Buffer staged = stage(stream, kMatmul, p, access, kernel);
  access.read(staged);
  const int64_t m_tasks = base::ceil_div(p.out_rows, kMaxTileRows);
  const int64_t step = rows_per_task(p, std::min<int64_t>(p.out_rows, kMaxTileRows), m_tasks);
  const int64_t n_tasks = base::ceil_div(p.weight.rows, step);
  stream.dispatch(kMatmul, kernel.name, std::move(access), n_tasks * m_tasks,
                  [p, kernel, staged, step, n_tasks](uint32_t task) {
                    const int64_t first = task / n_tasks * kMaxTileRows;
                    TileRows rows;
                    rows.count =
                        static_cast<int>(std::min<int64_t>(kMaxTileRows, p.out_rows - first));
                    for (int m = 0; m < rows.count; ++m) {
                      rows.x_row[m] = rows.out_row[m] = first + m;
                    }
                    Tile tile = make_tile(p, staged, kernel);
                    tile.n_begin = task % n_tasks * step;
                    tile.n_end = std::min(tile.n_begin + step, p.weight.rows);
                    tile.rows = &rows;
                    kernel.run(tile);
                  });
}

// Out rows grouped by expert, ascending within a group; group E holds the ids out of range. A group
// is cut into tiles of at most kMaxTileRows rows.
class Groups {
 public:
  static int64_t max_tiles(const MatmulParams& p) {
    return std::min(p.weight.num_experts + 1, p.out_rows) + p.out_rows / kMaxTileRows;
  }
  static size_t byte_len(const MatmulParams& p) {
    return static_cast<size_t>((1 + 3 * max_tiles(p) + p.out_rows + p.weight.num_experts + 2) *
                               static_cast<int64_t>(sizeof(int64_t)));
  }

  Groups(const MatmulParams& p, std::byte* memory)
      : num_experts_(p.weight.num_experts), out_rows_(p.out_rows) {
    num_tiles_ = reinterpret_cast<int64_t*>(memory);
    tiles_ = reinterpret_cast<TileEntry*>(num_tiles_ + 1);
    order_ = reinterpret_cast<int64_t*>(tiles_ + max_tiles(p));
    start_ = order_ + out_rows_;
  }

  // A counting sort.
  void build(const uint32_t* ids) const {
    const auto group = [&](int64_t row) { return std::min<int64_t>(ids[row], num_experts_); };
    std::fill(start_, start_ + num_experts_ + 2, 0);
    for (int64_t row = 0; row < out_rows_; ++row) ++start_[group(row) + 1];
    *num_tiles_ = 0;
    for (int64_t g = 0; g <= num_experts_; ++g) {
      const int64_t count = start_[g + 1];
      start_[g + 1] += start_[g];
      for (int64_t i = 0; i < count; i += kMaxTileRows) {
        tiles_[(*num_tiles_)++] = {g, start_[g] + i, std::min<int64_t>(kMaxTileRows, count - i)};
      }
    }
    for (int64_t row = 0; row < out_rows_; ++row) order_[start_[group(row)]++] = row;
  }

  int64_t num_tiles() const { return *num_tiles_; }
  // Returns the expert, E for ids out of range.
  int64_t tile(int64_t index, int64_t rows_per_x, TileRows& rows) const {
    const TileEntry& entry = tiles_[index];
    rows.count = static_cast<int>(entry.count);
    for (int m = 0; m < rows.count; ++m) {
      rows.out_row[m] = order_[entry.first + m];
      rows.x_row[m] = rows.out_row[m] / rows_per_x;
    }
    return entry.expert;
  }

 private:
  struct TileEntry {
    int64_t expert, first, count;
  };
  int64_t num_experts_, out_rows_;
  int64_t* num_tiles_;
  TileEntry* tiles_;
  int64_t* order_;
  int64_t* start_;
};

void store_zeros(const Tile& tile) {
  constexpr int64_t kCount = 64;
  const float zeros[kCount] = {};
  for (int m = 0; m < tile.rows->count; ++m) {
    for (int64_t n = tile.n_begin; n < tile.n_end; n += kCount) {
      store_f32(tile.params->out_dtype, zeros, std::min(kCount, tile.n_end - n), tile.params->out,
                tile.rows->out_row[m] * tile.params->weight.rows + n);
    }
  }
}

void launch_experts(CpuStream& stream, const MatmulParams& p, backends::Access access,
                    const CpuKernel& kernel) {
  const Buffer staged = stage(stream, kExpertMatmul, p, access, kernel);
  const Buffer table = stream.scratch(Groups::byte_len(p));
  backends::Access grouping = access;
  grouping.writes.clear();
  grouping.write(table);
  stream.dispatch(kExpertMatmul, kernel.name, std::move(grouping), 1,
                  [p, table](uint32_t) { Groups(p, table.data()).build(p.ids); });
  access.read(staged);
  access.read(table);
  const int64_t mean_rows = base::ceil_div(p.out_rows, p.weight.num_experts);
  const int64_t step = rows_per_task(p, std::min<int64_t>(mean_rows, kMaxTileRows), 1);
  const int64_t n_tasks = base::ceil_div(p.weight.rows, step);
  stream.dispatch(kExpertMatmul, kernel.name, std::move(access), n_tasks * Groups::max_tiles(p),
                  [p, kernel, staged, table, step, n_tasks](uint32_t task) {
                    const Groups groups(p, table.data());
                    if (task / n_tasks >= groups.num_tiles()) return;
                    TileRows rows;
                    Tile tile = make_tile(p, staged, kernel);
                    tile.expert = groups.tile(task / n_tasks, p.rows_per_x, rows);
                    tile.n_begin = task % n_tasks * step;
                    tile.n_end = std::min(tile.n_begin + step, p.weight.rows);
                    tile.rows = &rows;
                    tile.expert < p.weight.num_experts ? kernel.run(tile) : store_zeros(tile);
                  });
}

}  // namespace

void store_row(const MatmulParams& p, int64_t out_row, int64_t n_begin, int64_t count,
               const float* values) {
  constexpr int64_t kMaxCount = 64;
  const int64_t at = out_row * p.weight.rows + n_begin;
  if (p.residual == nullptr) return store_f32(p.out_dtype, values, count, p.out, at);
  float sum[kMaxCount];
  load_f32(p.out_dtype, p.residual, at, count, sum);
  for (int64_t i = 0; i < count; ++i) sum[i] += values[i];
  store_f32(p.out_dtype, sum, count, p.out, at);
}

void launch(StreamImpl& stream, const MatmulParams& p, backends::Access access,
            const CpuKernel& kernel) {
  CpuStream& cpu = backends::cpu::cpu_stream(stream);
  if (p.ids == nullptr) {
    launch_dense_rows(cpu, p, std::move(access), kernel);
  } else {
    launch_experts(cpu, p, std::move(access), kernel);
  }
}

}  // namespace mlxn::kernels::matmul
