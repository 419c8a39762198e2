// SPDX-License-Identifier: Apache-2.0
// argmax with SIMD, a row a task.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/argmax/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/argmax/cpu.h"
#include "kernels/common/argmax_row-inl.h"
#include "kernels/common/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

void ArgmaxTask(const ArgmaxParams& p, int64_t row) {
  const float* x = p.x + row * p.count;
  const int64_t index = ArgmaxRow(x, p.count);
  p.indices[row] = static_cast<uint32_t>(index);
  if (p.values != nullptr) p.values[row] = x[index];
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(ArgmaxTask);

namespace {

void launch(StreamImpl& stream, const ArgmaxParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto row = variant(HWY_DISPATCH_TABLE(ArgmaxTask), isa);
  backends::cpu::cpu_stream(stream).dispatch("argmax", name, std::move(access), p.rows,
                                             [p, row](uint32_t task) { row(p, task); });
}

}  // namespace

void argmax_avx512(StreamImpl& stream, const ArgmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void argmax_avx2(StreamImpl& stream, const ArgmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void argmax_baseline(StreamImpl& stream, const ArgmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
