// SPDX-License-Identifier: Apache-2.0
// What a group of cuda_wide.h has: 128 weight rows, 128 rows of x, eight simdgroups that multiply.
#pragma once
#include "kernels/matmul/cuda_stage.h"

namespace mlxn {
namespace gpu {
namespace panels {
namespace kernels_matmul_wide {

enum {
  kSimds = 8,  // that multiply
  kThreads = 32 * kSimds,
  kAllThreads = kThreads + 128,  // registers are given and taken by four simdgroups
  kPanels = 8,                   // of a group
  kXTiles = 16,
  kSpanStages = 2,
  kMostXStages = 16,                               // of a block
  kOwnTotals = kPanels * kXTiles * 128 / kThreads  // of a lane
};

}  // namespace kernels_matmul_wide
}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
