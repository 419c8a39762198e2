// SPDX-License-Identifier: Apache-2.0
// attn_merge with SIMD. A task joins the parts of a few rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_merge/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/attn_merge/cpu.h"
#include "kernels/common/float_io.h"
#include "kernels/common/scratch_row.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_math-inl.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// sum[c] += weight * row[c].
template <class T>
void AddRow(const T* row, float weight, int64_t count, float* sum) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes) {
    const auto total = hn::MulAdd(hn::Set(d, weight), LoadRow(d, row + c), hn::LoadU(d, sum + c));
    hn::StoreU(total, d, sum + c);
  }
  for (; c < count; ++c) {
    const auto total =
        hn::MulAdd(hn::Set(d1, weight), LoadRow(d1, row + c), hn::LoadU(d1, sum + c));
    hn::StoreU(total, d1, sum + c);
  }
}

template <class T>
void MergeRow(const AttnMergeParams& p, int64_t row, float* out) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const hn::CappedTag<float, 1> d1;
  float max = kNothing, sum = 0.0f;
  for (int64_t i = 0; i < p.num_parts; ++i) max = std::max(max, p.lse[i * p.rows + row]);
  std::fill_n(out, p.dim, 0.0f);
  for (int64_t i = 0; i < p.num_parts; ++i) {
    const float lse = p.lse[i * p.rows + row];
    if (lse == kNothing) continue;
    const float weight = hn::GetLane(Exp(d1, hn::Set(d1, lse - max)));
    sum += weight;
    AddRow(static_cast<const T*>(p.parts) + (i * p.rows + row) * p.dim, weight, p.dim, out);
  }
  for (int64_t c = 0; c < p.dim; ++c) out[c] = sum == 0.0f ? 0.0f : out[c] / sum;
  store_f32(p.dtype, out, p.dim, p.out, row * p.dim);
  if (p.out_lse != nullptr) p.out_lse[row] = sum == 0.0f ? kNothing : max + std::log(sum);
}

void AttnMergeRows(const AttnMergeParams& p, int64_t begin, int64_t end) {
  ScratchRow out(p.dim);
  for (int64_t row = begin; row < end; ++row) {
    if (p.dtype == DType::kF16) {
      MergeRow<F16>(p, row, out.data());
    } else if (p.dtype == DType::kBF16) {
      MergeRow<BF16>(p, row, out.data());
    } else {
      MergeRow<float>(p, row, out.data());
    }
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnMergeRows);

namespace {

// About 16384 elements a task: a few microseconds, so that handing it out costs nothing.
int64_t rows_per_task(const AttnMergeParams& p) {
  return std::max<int64_t>(1, 16384 / p.dim / p.num_parts);
}

void launch(StreamImpl& stream, const AttnMergeParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto merge = variant(HWY_DISPATCH_TABLE(AttnMergeRows), isa);
  const int64_t step = rows_per_task(p);
  backends::cpu::cpu_stream(stream).dispatch(
      "attn_merge", name, std::move(access), base::ceil_div(p.rows, step),
      [p, step, merge](uint32_t task) {
        merge(p, task * step, std::min(p.rows, (task + int64_t{1}) * step));
      });
}

}  // namespace

void attn_merge_avx512(StreamImpl& stream, const AttnMergeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void attn_merge_avx2(StreamImpl& stream, const AttnMergeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void attn_merge_baseline(StreamImpl& stream, const AttnMergeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
