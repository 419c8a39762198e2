// SPDX-License-Identifier: Apache-2.0
// Fills the constants of gpu_tq_args.h.
#pragma once

#include <algorithm>

#include "kernels/common/gpu_launch.h"
#include "kernels/common/gpu_tq_args.h"
#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

inline GpuTqTable gpu_tq_table(const TqCache& cache) {
  GpuTqTable t{};
  t.dim = static_cast<uint32_t>(cache.dim);
  t.code_bits = static_cast<uint32_t>(cache.table.code_bits);
  t.row_bytes = static_cast<uint32_t>(cache.row_bytes);
  t.norm_count = static_cast<uint32_t>(cache.norm_count);
  t.words = reinterpret_cast<uintptr_t>(cache.codes) % 4 == 0 && cache.row_bytes % 4 == 0;
  t.scale_factor = cache.table.scale_factor;
  std::copy(cache.table.signs.begin(), cache.table.signs.end(), t.signs);
  std::copy(cache.table.levels.begin(), cache.table.levels.end(), t.levels);
  return t;
}

inline GpuTqCoder gpu_tq_coder(const TqCache& cache) {
  GpuTqCoder c{.dim = static_cast<uint32_t>(cache.dim),
               .code_bits = static_cast<uint32_t>(cache.table.code_bits),
               .row_bytes = static_cast<uint32_t>(cache.row_bytes),
               .norm_count = static_cast<uint32_t>(cache.norm_count),
               .scale_factor = cache.table.scale_factor,
               .signs = {},
               .bits = static_cast<uint32_t>(cache.table.bits),
               .sign_magnitude = cache.table.sign_magnitude,
               .bounds = {}};
  std::copy(cache.table.signs.begin(), cache.table.signs.end(), c.signs);
  std::copy(cache.table.bounds.begin(), cache.table.bounds.end(), c.bounds);
  return c;
}

}  // namespace mlxn::kernels
