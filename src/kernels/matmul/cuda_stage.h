// SPDX-License-Identifier: Apache-2.0
// x split into terms, in the order of operand b of matrix units.
#pragma once
#include "kernels/common/cuda_wgmma.h"
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {

// Eight rows of x, a block of 32 of K.
template <int kTerms>
struct XTile {
  float sums[4][8];         // by row: of the block, of its halves, nothing
  uint terms[kTerms][128];  // pairs of elements, by lane: see word_of
};
static_assert(sizeof(XTile<1>) == 640 && sizeof(XTile<2>) == 1152, "cuda_plan.h counts on it");

// Where pair i of a lane lies: beside its others, or, for warpgroups, in the i-th of four matrices
// of eight rows by eight elements.
GPU_FN uint word_of(uint lane, uint i) { return MLXN_WARPGROUPS ? 32 * i + lane : 4 * lane + i; }

enum : uint { kNoRow = 0xffffffffu };  // of an order
enum { kRowTile = 16 };                // most XTiles of a CudaRowTile

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
