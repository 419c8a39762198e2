// SPDX-License-Identifier: Apache-2.0
// The shapes of cuda_copy.h that are built: type of K and V, dim, terms, simdgroups, 16s of their
// rows, their shares, keys of a tile, threadgroups of a core.
#pragma once

#define PREFILL_MMA_SHAPES(X)     \
  X(f16, 64, 1, 4, 2, 1, 64, 3)   \
  X(f16, 64, 2, 8, 1, 1, 64, 2)   \
  X(f16, 80, 1, 4, 2, 1, 64, 2)   \
  X(f16, 80, 2, 8, 1, 1, 64, 2)   \
  X(f16, 96, 1, 4, 2, 1, 64, 2)   \
  X(f16, 96, 2, 8, 1, 1, 64, 2)   \
  X(f16, 128, 1, 4, 2, 1, 64, 2)  \
  X(f16, 128, 2, 4, 2, 1, 32, 2)  \
  X(f16, 256, 1, 4, 2, 2, 64, 2)  \
  X(f16, 256, 2, 8, 1, 1, 32, 1)  \
  X(f16, 512, 1, 8, 1, 2, 64, 1)  \
  X(f16, 512, 2, 8, 1, 2, 32, 1)  \
  X(bf16, 64, 1, 4, 2, 1, 64, 3)  \
  X(bf16, 64, 3, 4, 1, 1, 64, 2)  \
  X(bf16, 80, 1, 4, 2, 1, 64, 2)  \
  X(bf16, 80, 3, 4, 1, 1, 64, 2)  \
  X(bf16, 96, 1, 4, 2, 1, 64, 2)  \
  X(bf16, 96, 3, 4, 1, 1, 64, 2)  \
  X(bf16, 128, 1, 4, 2, 1, 64, 2) \
  X(bf16, 128, 3, 4, 1, 1, 64, 1) \
  X(bf16, 256, 1, 4, 2, 2, 64, 2) \
  X(bf16, 256, 3, 4, 1, 1, 32, 1) \
  X(bf16, 512, 1, 8, 1, 2, 64, 1)
