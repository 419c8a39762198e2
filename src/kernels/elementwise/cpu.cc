// SPDX-License-Identifier: Apache-2.0
// add, mul, scale, softcap and cast with SIMD.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_math-inl.h"
#include "kernels/common/transform-inl.h"
#include "kernels/elementwise/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct AddOp {
  template <class D, class V>
  HWY_INLINE V operator()(D, V a, V b) const {
    return hn::Add(a, b);
  }
};

struct MulOp {
  template <class D, class V>
  HWY_INLINE V operator()(D, V a, V b) const {
    return hn::Mul(a, b);
  }
};

struct ScaleOp {
  float factor;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V a, V) const {
    return hn::Mul(a, hn::Set(d, factor));
  }
};

struct SoftcapOp {
  float cap;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V a, V) const {
    const V vcap = hn::Set(d, cap);
    return hn::Mul(vcap, Tanh(d, hn::Div(a, vcap)));
  }
};

void CastRange(const ElementwiseParams& p, int64_t begin, int64_t count) {
  constexpr int64_t kPiece = 256;
  float row[kPiece];
  for (int64_t i = begin; i < begin + count; i += kPiece) {
    const int64_t n = std::min(kPiece, begin + count - i);
    load_f32(p.dtype, p.a, i, n, row);
    store_f32(p.out_dtype, row, n, p.out, i);
  }
}

void ElementwiseRange(const ElementwiseParams& p, int64_t begin, int64_t end) {
  const RowRef a{p.a, begin}, b{p.b, begin};
  const int64_t count = end - begin;
  switch (p.kind) {
    case ElementwiseKind::kAdd:
      return Transform(AddOp{}, p.dtype, a, b, count, p.out, begin);
    case ElementwiseKind::kMul:
      return Transform(MulOp{}, p.dtype, a, b, count, p.out, begin);
    case ElementwiseKind::kScale:
      return Transform(ScaleOp{p.scalar}, p.dtype, a, b, count, p.out, begin);
    case ElementwiseKind::kSoftcap:
      return Transform(SoftcapOp{p.scalar}, p.dtype, a, b, count, p.out, begin);
    case ElementwiseKind::kCast:
      return CastRange(p, begin, count);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(ElementwiseRange);

namespace {

// A few microseconds of work, so that handing a task out costs nothing.
constexpr int64_t kTaskElements = 16384;

void launch(StreamImpl& stream, const ElementwiseParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto range = variant(HWY_DISPATCH_TABLE(ElementwiseRange), isa);
  const int64_t tasks = (p.count + kTaskElements - 1) / kTaskElements;
  backends::cpu::cpu_stream(stream).dispatch(
      op_name(p.kind), name, std::move(access), tasks, [p, range](uint32_t task) {
        const int64_t begin = task * kTaskElements;
        range(p, begin, std::min(p.count, begin + kTaskElements));
      });
}

}  // namespace

void elementwise_avx512(StreamImpl& stream, const ElementwiseParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void elementwise_avx2(StreamImpl& stream, const ElementwiseParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void elementwise_baseline(StreamImpl& stream, const ElementwiseParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
