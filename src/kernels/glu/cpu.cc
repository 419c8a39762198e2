// SPDX-License-Identifier: Apache-2.0
// glu with SIMD. Every activation is written so that nothing cancels: its relative error stays a
// few ulp where it goes to 0 on the negative side.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/glu/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_math-inl.h"
#include "kernels/common/transform-inl.h"
#include "kernels/glu/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x / (1 + e^-z), 0 for x = -infinity.
template <class D, class V>
HWY_INLINE V Gated(D d, V x, V z) {
  const V y = hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(z))));
  const auto is_floor = hn::Eq(x, hn::Set(d, -std::numeric_limits<float>::infinity()));
  return hn::IfThenElse(is_floor, hn::Zero(d), y);
}

// 0.5 (1 + tanh u) = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanhGlu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V up) const {
    const V cubic = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), hn::Set(d, 1.0f));
    return hn::Mul(Gated(d, x, hn::Mul(hn::Mul(x, hn::Set(d, 1.5957691216f)), cubic)), up);
  }
};

struct SiluGlu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V up) const {
    return hn::Mul(Gated(d, x, x), up);
  }
};

struct SigmoidGlu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V up) const {
    return hn::Mul(Gated(d, hn::Set(d, 1.0f), x), up);
  }
};

// 0.5 (1 + erf(x / sqrt 2)) = 0.5 erfc(-x / sqrt 2), lane by lane.
struct GeluErfGlu {
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x, V up) const {
    HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(x, d, lanes);
    for (size_t i = 0; i < hn::Lanes(d); ++i) {
      const float v = lanes[i];
      lanes[i] = std::isinf(v) && v < 0 ? 0.0f : 0.5f * v * std::erfc(v * -0.70710678118f);
    }
    return hn::Mul(hn::Load(d, lanes), up);
  }
};

template <class F>
HWY_INLINE void GluSegment(F f, const GluParams& p, int64_t in_at, int64_t out_at, int64_t count) {
  Transform(f, p.dtype, {p.gate, in_at}, {p.up, in_at}, count, p.out, out_at);
}

// Elements [begin, end) of the output, row by row.
void GluRange(const GluParams& p, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t row = begin / p.dim;
    const int64_t stop = std::min(end, (row + 1) * p.dim);
    const int64_t in_at = row * p.in_stride + begin - row * p.dim;
    switch (p.activation) {
      case ops::Activation::kGeluTanh:
        GluSegment(GeluTanhGlu{}, p, in_at, begin, stop - begin);
        break;
      case ops::Activation::kGeluErf:
        GluSegment(GeluErfGlu{}, p, in_at, begin, stop - begin);
        break;
      case ops::Activation::kSilu:
        GluSegment(SiluGlu{}, p, in_at, begin, stop - begin);
        break;
      case ops::Activation::kSigmoid:
        GluSegment(SigmoidGlu{}, p, in_at, begin, stop - begin);
        break;
    }
    begin = stop;
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(GluRange);

namespace {

// A few microseconds of work, so that handing a task out costs nothing.
constexpr int64_t kTaskElements = 4096;

void launch(StreamImpl& stream, const GluParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto range = variant(HWY_DISPATCH_TABLE(GluRange), isa);
  const int64_t count = p.rows * p.dim;
  const int64_t tasks = (count + kTaskElements - 1) / kTaskElements;
  backends::cpu::cpu_stream(stream).dispatch(
      "glu", name, std::move(access), tasks, [p, range, count](uint32_t task) {
        const int64_t begin = task * kTaskElements;
        range(p, begin, std::min(count, begin + kTaskElements));
      });
}

}  // namespace

void glu_avx512(StreamImpl& stream, const GluParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void glu_avx2(StreamImpl& stream, const GluParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void glu_baseline(StreamImpl& stream, const GluParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
