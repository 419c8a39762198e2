// SPDX-License-Identifier: Apache-2.0
// attn_mask_build: a row is at most three runs of equal cells, which compilers fill with vectors of
// every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_mask_build/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/attn_mask_build/cpu.h"
#include "kernels/common/attn_mask.h"
#include "kernels/common/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

template <class Bits>
void BuildRows(const AttnMaskBuildParams& p, Bits blocked, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t position = p.q_offset + i;
    const int64_t hi = p.causal ? std::min(p.k_len, position + 1) : p.k_len;
    const int64_t oldest = p.window_size > 0 ? position - p.window_size + 1 : 0;
    const int64_t lo = std::clamp<int64_t>(oldest, 0, hi);
    Bits* row = static_cast<Bits*>(p.out) + i * p.k_len;
    for (int64_t j = 0; j < lo; ++j) row[j] = blocked;
    for (int64_t j = lo; j < hi; ++j) row[j] = 0;
    for (int64_t j = hi; j < p.k_len; ++j) row[j] = blocked;
  }
}

void AttnMaskBuildRows(const AttnMaskBuildParams& p, int64_t begin, int64_t end) {
  switch (p.dtype) {
    case DType::kF16:
      return BuildRows(p, kMaskF16.infinity, begin, end);
    case DType::kBF16:
      return BuildRows(p, kMaskBF16.infinity, begin, end);
    default:
      return BuildRows(p, kMaskF32.infinity, begin, end);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnMaskBuildRows);

namespace {

// About 65536 cells a task: a few microseconds, so that handing it out costs nothing.
int64_t rows_per_task(const AttnMaskBuildParams& p) {
  return std::max<int64_t>(1, 65536 / p.k_len);
}

void launch(StreamImpl& stream, const AttnMaskBuildParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto build = variant(HWY_DISPATCH_TABLE(AttnMaskBuildRows), isa);
  const int64_t step = rows_per_task(p);
  backends::cpu::cpu_stream(stream).dispatch(
      "attn_mask_build", name, std::move(access), base::ceil_div(p.q_len, step),
      [p, step, build](uint32_t task) {
        build(p, task * step, std::min(p.q_len, (task + int64_t{1}) * step));
      });
}

}  // namespace

void attn_mask_build_avx512(StreamImpl& stream, const AttnMaskBuildParams& p,
                            backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void attn_mask_build_avx2(StreamImpl& stream, const AttnMaskBuildParams& p,
                          backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void attn_mask_build_baseline(StreamImpl& stream, const AttnMaskBuildParams& p,
                              backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
