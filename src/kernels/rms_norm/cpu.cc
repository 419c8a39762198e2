// SPDX-License-Identifier: Apache-2.0
// rms_norm with SIMD: one pass for the sum of squares, one for the result. 16-bit rows go through
// an f32 copy of the row.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/norm_row-inl.h"
#include "kernels/common/simd.h"
#include "kernels/rms_norm/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void AddRows(const float* a, const float* b, int64_t dim, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  for (; i < dim; ++i) out[i] = a[i] + b[i];
}

// Rows [begin, end). f32 operands are used in place, others through row buffers.
void RmsNormRows(const RmsNormParams& p, int64_t begin, int64_t end) {
  const bool direct = p.dtype == DType::kF32;
  const size_t dim = static_cast<size_t>(p.dim);
  std::vector<float> weight_row(p.weight && p.weight_dtype != DType::kF32 ? dim : 0);
  const float* weight = static_cast<const float*>(p.weight);
  if (!weight_row.empty()) {
    load_f32(p.weight_dtype, p.weight, 0, p.dim, weight_row.data());
    weight = weight_row.data();
  }
  std::vector<float> x_row(direct && !p.add_before ? 0 : dim);
  std::vector<float> add_row(direct ? 0 : dim), out_row(direct ? 0 : dim);
  std::vector<float> factor_row(direct || !p.factor ? 0 : dim);
  const auto row_of = [&](const void* source, int64_t row, std::vector<float>& buffer) {
    if (direct) return static_cast<const float*>(source) + row * p.dim;
    load_f32(p.dtype, source, row * p.dim, p.dim, buffer.data());
    return static_cast<const float*>(buffer.data());
  };
  for (int64_t row = begin; row < end; ++row) {
    const float* x = row_of(p.x, row, x_row);
    if (p.add_before != nullptr) {
      AddRows(x, row_of(p.add_before, row, add_row), p.dim, x_row.data());
      x = x_row.data();
      if (p.sum != nullptr) store_f32(p.dtype, x, p.dim, p.sum, row * p.dim);
    }
    const float inv = InverseRms(x, p.dim, p.eps);
    const float* add = p.add_after ? row_of(p.add_after, row, add_row) : nullptr;
    const float* factor = p.factor ? row_of(p.factor, row, factor_row) : nullptr;
    float* out = direct ? static_cast<float*>(p.out) + row * p.dim : out_row.data();
    NormRow(x, weight, factor, add, inv, p.weight_offset, p.scale, p.dim, out);
    if (!direct) store_f32(p.dtype, out, p.dim, p.out, row * p.dim);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(RmsNormRows);

namespace {

// At least 8192 elements a task: a few microseconds, so that handing it out costs nothing.
int64_t rows_per_task(const RmsNormParams& p) { return std::max<int64_t>(1, 8192 / p.dim); }

void launch(StreamImpl& stream, const RmsNormParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto rows = variant(HWY_DISPATCH_TABLE(RmsNormRows), isa);
  const int64_t step = rows_per_task(p);
  const int64_t tasks = (p.rows + step - 1) / step;
  backends::cpu::cpu_stream(stream).dispatch("rms_norm", name, std::move(access), tasks,
                                             [p, rows, step](uint32_t task) {
                                               const int64_t begin = task * step;
                                               rows(p, begin, std::min(p.rows, begin + step));
                                             });
}

}  // namespace

void rms_norm_avx512(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void rms_norm_avx2(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void rms_norm_baseline(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
