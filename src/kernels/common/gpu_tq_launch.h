// SPDX-License-Identifier: Apache-2.0
// Fills the constants of gpu_tq_args.h.
#pragma once

#include <algorithm>

#include "kernels/common/gpu_launch.h"
#include "kernels/common/gpu_tq_args.h"
#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

// What both structs have.
template <typename T>
T gpu_tq_code(const TqCache& cache) {
  T t{};
  t.dim = static_cast<uint32_t>(cache.dim);
  t.code_bits = static_cast<uint32_t>(cache.table.code_bits);
  t.row_bytes = static_cast<uint32_t>(cache.row_bytes);
  t.norm_count = static_cast<uint32_t>(cache.norm_count);
  t.scale_factor = cache.table.scale_factor;
  std::copy(cache.table.signs.begin(), cache.table.signs.end(), t.signs);
  return t;
}

inline GpuTqTable gpu_tq_table(const TqCache& cache) {
  auto t = gpu_tq_code<GpuTqTable>(cache);
  t.words = reinterpret_cast<uintptr_t>(cache.codes) % 4 == 0 && cache.row_bytes % 4 == 0;
  std::copy(cache.table.levels.begin(), cache.table.levels.end(), t.levels);
  return t;
}

inline GpuTqCoder gpu_tq_coder(const TqCache& cache) {
  auto c = gpu_tq_code<GpuTqCoder>(cache);
  c.bits = static_cast<uint32_t>(cache.table.bits);
  c.sign_magnitude = cache.table.sign_magnitude;
  std::copy(cache.table.bounds.begin(), cache.table.bounds.end(), c.bounds);
  return c;
}

}  // namespace mlxn::kernels
