// SPDX-License-Identifier: Apache-2.0
// x split into terms, in the order of operand b of matrix units.
#pragma once
#include "kernels/matmul/cuda_tile.h"

namespace mlxn {
namespace gpu {
namespace panels {

// Eight rows of x, a block of 32 of K.
struct XTile {
  uint high[32][4], low[32][4];  // by lane
  float sums[4][8];              // by row: of the block, of its halves, nothing
};
static_assert(sizeof(XTile) == 1152, "cuda_launch.cc counts on it");

enum : uint { kNoRow = 0xffffffffu };  // of an order
enum { kRowTile = 16 };                // most XTiles of a CudaRowTile

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
