// SPDX-License-Identifier: Apache-2.0
// attn_mask_classify. A task takes the tiles of a few rows of tiles. Cells are told apart by their
// bits, in loops that compilers turn into vectors of every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_mask_classify/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/attn_mask_classify/cpu.h"
#include "kernels/common/attn_mask.h"
#include "kernels/common/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// How many of `count` cells block, and how many add nothing.
struct CellCounts {
  uint32_t blocked = 0;
  uint32_t free = 0;
};

template <class Bits>
CellCounts CountCells(const MaskCell<Bits>& cell, const Bits* cells, int64_t count) {
  CellCounts counts;
  for (int64_t j = 0; j < count; ++j) {
    counts.blocked += cells[j] >= cell.sentinel && cells[j] <= cell.infinity ? 1 : 0;
    counts.free += static_cast<Bits>(cells[j] << 1) == 0 ? 1 : 0;
  }
  return counts;
}

// A u8 mask blocks where it is 0.
struct BoolCell {};
inline CellCounts CountCells(BoolCell, const uint8_t* cells, int64_t count) {
  CellCounts counts;
  for (int64_t j = 0; j < count; ++j) counts.blocked += cells[j] == 0 ? 1 : 0;
  counts.free = static_cast<uint32_t>(count) - counts.blocked;
  return counts;
}

template <class Cell, class Bits>
uint8_t ClassOf(const AttnMaskClassifyParams& p, const Cell& cell, const Bits* mask, int64_t q_tile,
                int64_t k_tile) {
  const int64_t begin = k_tile * p.k_tile, end = std::min(p.k_len, begin + p.k_tile);
  const int64_t last = std::min(p.q_len, (q_tile + 1) * p.q_tile);
  const bool whole = end - begin == p.k_tile;
  bool blocked = whole, free = whole;
  for (int64_t i = q_tile * p.q_tile; i < last && (blocked || free); ++i) {
    const CellCounts counts = CountCells(cell, mask + i * p.k_len + begin, end - begin);
    blocked = blocked && counts.blocked == static_cast<uint32_t>(end - begin);
    free = free && counts.free == static_cast<uint32_t>(end - begin);
  }
  return blocked ? kMaskBlocked : free ? kMaskFree : kMaskMixed;
}

template <class Cell, class Bits>
void ClassifyRows(const AttnMaskClassifyParams& p, const Cell& cell, const Bits* mask,
                  int64_t begin, int64_t end) {
  const int64_t q_tiles = p.q_tiles(), k_tiles = p.k_tiles();
  for (int64_t row = begin; row < end; ++row) {
    const Bits* plane = mask + row / q_tiles * p.q_len * p.k_len;
    for (int64_t k_tile = 0; k_tile < k_tiles; ++k_tile) {
      p.classes[row * k_tiles + k_tile] = ClassOf(p, cell, plane, row % q_tiles, k_tile);
    }
  }
}

// Rows of tiles, over all planes.
void AttnMaskClassifyRows(const AttnMaskClassifyParams& p, int64_t begin, int64_t end) {
  switch (p.dtype) {
    case DType::kU8:
      return ClassifyRows(p, BoolCell(), static_cast<const uint8_t*>(p.mask), begin, end);
    case DType::kF16:
      return ClassifyRows(p, kMaskF16, static_cast<const uint16_t*>(p.mask), begin, end);
    case DType::kBF16:
      return ClassifyRows(p, kMaskBF16, static_cast<const uint16_t*>(p.mask), begin, end);
    default:
      return ClassifyRows(p, kMaskF32, static_cast<const uint32_t*>(p.mask), begin, end);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnMaskClassifyRows);

namespace {

// About 65536 cells a task: a few microseconds, so that handing it out costs nothing.
int64_t rows_per_task(const AttnMaskClassifyParams& p) {
  return std::max<int64_t>(1, 65536 / p.k_len / p.q_tile);
}

void launch(StreamImpl& stream, const AttnMaskClassifyParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto classify = variant(HWY_DISPATCH_TABLE(AttnMaskClassifyRows), isa);
  const int64_t rows = p.planes * p.q_tiles(), step = rows_per_task(p);
  backends::cpu::cpu_stream(stream).dispatch(
      "attn_mask_classify", name, std::move(access), base::ceil_div(rows, step),
      [p, rows, step, classify](uint32_t task) {
        classify(p, task * step, std::min(rows, (task + int64_t{1}) * step));
      });
}

}  // namespace

void attn_mask_classify_avx512(StreamImpl& stream, const AttnMaskClassifyParams& p,
                               backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void attn_mask_classify_avx2(StreamImpl& stream, const AttnMaskClassifyParams& p,
                             backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void attn_mask_classify_baseline(StreamImpl& stream, const AttnMaskClassifyParams& p,
                                 backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
