// SPDX-License-Identifier: Apache-2.0
// moe_combine with SIMD: pieces of a token's row are summed on the stack, expert after expert.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/moe_combine/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/moe_combine/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kPiece = 512;  // elements summed at a time

// sum += weight * row. Products and sums are separate in the tail too, so that a dim that is no
// multiple of the vector gives the same bits in every place.
void Accumulate(const float* row, float weight, int64_t count, float* sum) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto w = hn::Set(d, weight);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Add(hn::Mul(w, hn::LoadU(d, row + i)), hn::LoadU(d, sum + i)), d, sum + i);
  }
  for (; i < count; ++i) sum[i] += weight * row[i];
}

// Elements [at, at + count) of one token, count <= kPiece.
void CombinePiece(const MoeCombineParams& p, int64_t token, int64_t at, int64_t count) {
  float sum[kPiece], loaded[kPiece];
  const auto row_of = [&](const void* source, int64_t row) {
    if (p.dtype == DType::kF32) return static_cast<const float*>(source) + row * p.dim + at;
    load_f32(p.dtype, source, row * p.dim + at, count, loaded);
    return static_cast<const float*>(loaded);
  };
  std::fill_n(sum, count, 0.0f);
  for (int64_t j = token * p.top_k; j < (token + 1) * p.top_k; ++j) {
    Accumulate(row_of(p.y, j), p.weights[j], count, sum);
  }
  if (p.shared != nullptr) {
    const float gate = p.shared_gate ? 1.0f / (1.0f + std::exp(-p.shared_gate[token])) : 1.0f;
    Accumulate(row_of(p.shared, token), gate, count, sum);
  }
  if (p.residual != nullptr) Accumulate(row_of(p.residual, token), 1.0f, count, sum);
  store_f32(p.dtype, sum, count, p.out, token * p.dim + at);
}

// Elements [begin, end) of one token.
void CombineRange(const MoeCombineParams& p, int64_t token, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += kPiece) {
    CombinePiece(p, token, at, std::min(kPiece, end - at));
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(CombineRange);

namespace {

// Elements of a token per task; with several experts to read that is a few microseconds.
constexpr int64_t kTaskElements = 4096;

void launch(StreamImpl& stream, const MoeCombineParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto range = variant(HWY_DISPATCH_TABLE(CombineRange), isa);
  const int64_t per_token = (p.dim + kTaskElements - 1) / kTaskElements;
  backends::cpu::cpu_stream(stream).dispatch(
      "moe_combine", name, std::move(access), p.tokens * per_token,
      [p, range, per_token](uint32_t task) {
        const int64_t begin = task % per_token * kTaskElements;
        range(p, task / per_token, begin, std::min(p.dim, begin + kTaskElements));
      });
}

}  // namespace

void moe_combine_avx512(StreamImpl& stream, const MoeCombineParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void moe_combine_avx2(StreamImpl& stream, const MoeCombineParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void moe_combine_baseline(StreamImpl& stream, const MoeCombineParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
