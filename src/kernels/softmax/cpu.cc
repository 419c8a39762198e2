// SPDX-License-Identifier: Apache-2.0
// softmax with SIMD: maximum, exponentials with their sum, division. 16-bit rows go through an f32
// copy of the row, so nothing is rounded in between.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/exp_sum-inl.h"
#include "kernels/common/float_io.h"
#include "kernels/common/scratch_row.h"
#include "kernels/common/simd.h"
#include "kernels/common/transform-inl.h"
#include "kernels/softmax/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct TimesOp {
  float factor;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V a, V) const {
    return hn::Mul(a, hn::Set(d, factor));
  }
};

void SoftmaxRow(const float* x, int64_t cols, float* out) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const RowMax row = MaxOfRow(x, cols);
  if (row.has_nan || row.max == kInfinity) {
    std::fill_n(out, cols, std::numeric_limits<float>::quiet_NaN());
  } else if (row.max == -kInfinity) {
    std::fill_n(out, cols, 0.0f);
  } else {
    const double sum = ExpSum(x, cols, row.max, 1.0f, out, nullptr);
    TransformRow(TimesOp{static_cast<float>(1.0 / sum)}, out, nullptr, cols, out);
  }
}

void SoftmaxRows(const SoftmaxParams& p, int64_t begin, int64_t end) {
  const bool direct = p.dtype == DType::kF32;
  ScratchRow scratch(direct ? 0 : p.cols);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * p.cols;
    if (direct) {
      SoftmaxRow(static_cast<const float*>(p.x) + at, p.cols, static_cast<float*>(p.out) + at);
      continue;
    }
    load_f32(p.dtype, p.x, at, p.cols, scratch.data());
    SoftmaxRow(scratch.data(), p.cols, scratch.data());
    store_f32(p.dtype, scratch.data(), p.cols, p.out, at);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(SoftmaxRows);

namespace {

// At least 4096 elements a task: a few microseconds, so that handing it out costs nothing.
int64_t rows_per_task(const SoftmaxParams& p) { return std::max<int64_t>(1, 4096 / p.cols); }

void launch(StreamImpl& stream, const SoftmaxParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto rows = variant(HWY_DISPATCH_TABLE(SoftmaxRows), isa);
  const int64_t step = rows_per_task(p);
  const int64_t tasks = (p.rows + step - 1) / step;
  backends::cpu::cpu_stream(stream).dispatch("softmax", name, std::move(access), tasks,
                                             [p, rows, step](uint32_t task) {
                                               const int64_t begin = task * step;
                                               rows(p, begin, std::min(p.rows, begin + step));
                                             });
}

}  // namespace

void softmax_avx512(StreamImpl& stream, const SoftmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void softmax_avx2(StreamImpl& stream, const SoftmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void softmax_baseline(StreamImpl& stream, const SoftmaxParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
