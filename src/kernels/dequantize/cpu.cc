// SPDX-License-Identifier: Apache-2.0
// dequantize: rows in parallel; 16-bit outputs go through an f32 copy of the row.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dequantize/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/dequantize/cpu.h"
#include "kernels/dequantize/decode_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// Rows [begin, end), counted over experts.
void DequantizeRows(const DequantizeParams& p, int64_t begin, int64_t end) {
  const quant::WeightView& w = p.weight;
  const bool direct = p.out_dtype == DType::kF32;
  std::vector<float> buffer(direct ? 0 : static_cast<size_t>(w.cols));
  for (int64_t row = begin; row < end; ++row) {
    float* out = direct ? static_cast<float*>(p.out) + row * w.cols : buffer.data();
    DecodeRow(w, row / w.rows, row % w.rows, out);
    if (!direct) store_f32(p.out_dtype, out, w.cols, p.out, row * w.cols);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(DequantizeRows);

namespace {

void launch(StreamImpl& stream, const DequantizeParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto decode = variant(HWY_DISPATCH_TABLE(DequantizeRows), isa);
  // At least 16384 elements a task: a few microseconds, so that handing it out costs nothing.
  const int64_t step = std::max<int64_t>(1, 16384 / p.weight.cols);
  const int64_t rows = p.weight.num_experts * p.weight.rows;
  const int64_t tasks = (rows + step - 1) / step;
  backends::cpu::cpu_stream(stream).dispatch("dequantize", name, std::move(access), tasks,
                                             [p, decode, rows, step](uint32_t task) {
                                               const int64_t begin = task * step;
                                               decode(p, begin, std::min(rows, begin + step));
                                             });
}

}  // namespace

void dequantize_avx512(StreamImpl& stream, const DequantizeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void dequantize_avx2(StreamImpl& stream, const DequantizeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void dequantize_baseline(StreamImpl& stream, const DequantizeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
