// SPDX-License-Identifier: Apache-2.0
// embed: a row per id, dequantised and scaled in f32; 16-bit outputs go through an f32 copy.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embed/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/dequantize/decode_row-inl.h"
#include "kernels/embed/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {

// Output rows [begin, end).
void EmbedRows(const EmbedParams& p, int64_t begin, int64_t end) {
  const int64_t dim = p.table.cols;
  const bool direct = p.out_dtype == DType::kF32;
  std::vector<float> buffer(direct ? 0 : static_cast<size_t>(dim));
  for (int64_t row = begin; row < end; ++row) {
    float* out = direct ? static_cast<float*>(p.out) + row * dim : buffer.data();
    const int64_t id = p.ids[row];
    if (id < 0 || id >= p.table.rows) {
      std::fill_n(out, dim, 0.0f);
    } else {
      DecodeRow(p.table, 0, id, out);
      if (p.scale != 1.0f) {
        for (int64_t i = 0; i < dim; ++i) out[i] *= p.scale;
      }
    }
    if (!direct) store_f32(p.out_dtype, out, dim, p.out, row * dim);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(EmbedRows);

namespace {

void launch(StreamImpl& stream, const EmbedParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto embed = variant(HWY_DISPATCH_TABLE(EmbedRows), isa);
  // At least 16384 elements a task: a few microseconds, so that handing it out costs nothing.
  const int64_t step = std::max<int64_t>(1, 16384 / p.table.cols);
  const int64_t tasks = (p.count + step - 1) / step;
  backends::cpu::cpu_stream(stream).dispatch("embed", name, std::move(access), tasks,
                                             [p, embed, step](uint32_t task) {
                                               const int64_t begin = task * step;
                                               embed(p, begin, std::min(p.count, begin + step));
                                             });
}

}  // namespace

void embed_avx512(StreamImpl& stream, const EmbedParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void embed_avx2(StreamImpl& stream, const EmbedParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void embed_baseline(StreamImpl& stream, const EmbedParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
