// SPDX-License-Identifier: Apache-2.0
// What the launchers of attention kernels share.
#pragma once

#include <bit>

#include "kernels/common/attn_keys.h"
#include "kernels/common/gpu_attn_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {

inline GpuQueryType query_type(DType dtype) {
  return dtype == DType::kF16 ? kGpuQueryF16 : dtype == DType::kBF16 ? kGpuQueryBF16 : kGpuQueryF32;
}

inline GpuStrides gpu_strides(const AttnStrides& s) {
  return {static_cast<uint32_t>(s.batch), static_cast<uint32_t>(s.head),
          static_cast<uint32_t>(s.row)};
}

// How far a window or a chunk reaches; beyond the counters there is none.
inline uint32_t gpu_reach(int64_t keys) {
  return keys < kMaxGpuExtent ? static_cast<uint32_t>(keys) : 0;
}

inline GpuPages gpu_pages(const KeyPages& pages) {
  if (pages.table == nullptr) return {0, 0, 0, 0};
  return {static_cast<uint32_t>(pages.page_size),
          static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(pages.page_size))),
          static_cast<uint32_t>(pages.per_sequence), static_cast<uint32_t>(pages.count)};
}

}  // namespace mlxn::kernels
