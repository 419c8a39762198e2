// SPDX-License-Identifier: Apache-2.0
// What launchers and kernels of attention share. Read by C++, CUDA and Metal.
#pragma once

// The type of queries and outputs.
enum GpuQueryType { kGpuQueryF32, kGpuQueryF16, kGpuQueryBF16 };

// How the visible keys of a decode are cut into parts.
struct GpuParts {
  unsigned int least_keys;  // a part has a multiple of it
  unsigned int most_keys;   // of a part
  unsigned int most_parts;  // as long as that allows
};

// Elements from one sequence, head or position to the next.
struct GpuStrides {
  unsigned int batch, head, row;
};

// A cache that is cut into pages.
struct GpuPages {
  unsigned int size;          // slots of a page; 0: the cache is not paged
  unsigned int shift;         // log2 of size
  unsigned int per_sequence;  // entries of a sequence in the block table
  unsigned int count;         // pages of the cache; entries beyond hold no keys
};
