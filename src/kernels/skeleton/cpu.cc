// SPDX-License-Identifier: Apache-2.0
// axpy with SIMD. This file is compiled once per instruction set: everything between
// HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE exists in each of them, what follows exists once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/skeleton/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/skeleton/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Product and sum are separate, not an fma: the scalar tail and every instruction set then give the
// same bits.
void AxpyRow(const float* x, const float* y, float a, int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto va = hn::Set(d, a);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Add(hn::Mul(va, hn::LoadU(d, x + i)), hn::LoadU(d, y + i)), d, out + i);
  }
  for (; i < count; ++i) out[i] = a * x[i] + y[i];
}

// Elements [begin, end). f32 is used in place, 16-bit types through pieces on the stack.
void AxpyRange(const AxpyParams& p, int64_t begin, int64_t end) {
  if (p.dtype == DType::kF32) {
    AxpyRow(static_cast<const float*>(p.x) + begin, static_cast<const float*>(p.y) + begin, p.a,
            end - begin, static_cast<float*>(p.out) + begin);
    return;
  }
  constexpr int64_t kPiece = 256;
  float x[kPiece], y[kPiece];
  for (int64_t at = begin; at < end; at += kPiece) {
    const int64_t count = std::min(kPiece, end - at);
    load_f32(p.dtype, p.x, at, count, x);
    load_f32(p.dtype, p.y, at, count, y);
    AxpyRow(x, y, p.a, count, x);
    store_f32(p.dtype, x, count, p.out, at);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AxpyRange);

namespace {

// A few microseconds of work, so that handing a task out costs nothing.
constexpr int64_t kTaskElements = 16384;

void launch(StreamImpl& stream, const AxpyParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto range = variant(HWY_DISPATCH_TABLE(AxpyRange), isa);
  const int64_t tasks = (p.count + kTaskElements - 1) / kTaskElements;
  backends::cpu::cpu_stream(stream).dispatch(
      "axpy", name, std::move(access), tasks, [p, range](uint32_t task) {
        const int64_t begin = task * kTaskElements;
        range(p, begin, std::min(p.count, begin + kTaskElements));
      });
}

}  // namespace

void axpy_avx512(StreamImpl& stream, const AxpyParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void axpy_avx2(StreamImpl& stream, const AxpyParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void axpy_baseline(StreamImpl& stream, const AxpyParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
