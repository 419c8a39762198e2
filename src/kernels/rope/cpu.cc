// SPDX-License-Identifier: Apache-2.0
// rope and head_norm_rope with SIMD. A task takes several heads of one token, so that the sines and
// cosines of its position are computed once for all of them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/common/float_io.h"
#include "kernels/common/norm_row-inl.h"
#include "kernels/common/scratch_row.h"
#include "kernels/common/simd.h"
#include "kernels/rope/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rotates the pairs (first[i], second[i]) in place.
void RotateSplit(const float* cos, const float* sin, int64_t pairs, float* first, float* second) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    const auto c = hn::LoadU(d, cos + i), s = hn::LoadU(d, sin + i);
    const auto a = hn::LoadU(d, first + i), b = hn::LoadU(d, second + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), d, first + i);
    hn::StoreU(hn::Add(hn::Mul(a, s), hn::Mul(b, c)), d, second + i);
  }
  for (; i < pairs; ++i) {
    const float a = first[i], b = second[i];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = a * sin[i] + b * cos[i];
  }
}

void RotateInterleaved(const float* cos, const float* sin, int64_t pairs, float* row) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    const auto c = hn::LoadU(d, cos + i), s = hn::LoadU(d, sin + i);
    auto a = hn::Zero(d), b = hn::Zero(d);
    hn::LoadInterleaved2(d, row + 2 * i, a, b);
    hn::StoreInterleaved2(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)),
                          hn::Add(hn::Mul(a, s), hn::Mul(b, c)), d, row + 2 * i);
  }
  for (; i < pairs; ++i) {
    const float a = row[2 * i], b = row[2 * i + 1];
    row[2 * i] = a * cos[i] - b * sin[i];
    row[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

void RotateHead(const RopeParams& p, const float* cos, const float* sin, int64_t pairs,
                float* head) {
  switch (p.pairing) {
    case ops::RopePairing::kSplitHead:
      return RotateSplit(cos, sin, pairs, head, head + p.head_dim / 2);
    case ops::RopePairing::kSplitRotary:
      return RotateSplit(cos, sin, pairs, head, head + p.pairs);
    case ops::RopePairing::kInterleaved:
      return RotateInterleaved(cos, sin, pairs, head);
  }
}

// Heads [begin, end) of one token. f32 heads are rotated in the output itself, others in a row of
// working memory.
void RopeHeads(const RopeParams& p, int64_t token, int64_t begin, int64_t end) {
  const bool direct = p.dtype == DType::kF32;
  // Position 0 rotates by nothing: elements stay exactly as they are.
  const int64_t pairs = p.pairs > 0 && p.positions[token] != 0 ? p.pairs : 0;
  ScratchRow table(2 * pairs), row(direct ? 0 : p.head_dim);
  ScratchRow weight_row(p.norm && p.weight && p.weight_dtype != DType::kF32 ? p.head_dim : 0);
  float *cos = table.data(), *sin = cos + pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(p.positions[token]) * p.inv_freq[i];
    cos[i] = std::cos(angle);
    sin[i] = std::sin(angle);
  }
  const float* weight = static_cast<const float*>(p.weight);
  if (p.norm && p.weight != nullptr && p.weight_dtype != DType::kF32) {
    load_f32(p.weight_dtype, p.weight, 0, p.head_dim, weight_row.data());
    weight = weight_row.data();
  }
  for (int64_t head = begin; head < end; ++head) {
    const int64_t at = (token * p.heads + head) * p.head_dim;
    const float* x = direct ? static_cast<const float*>(p.x) + at : row.data();
    float* out = direct ? static_cast<float*>(p.out) + at : row.data();
    if (!direct) load_f32(p.dtype, p.x, at, p.head_dim, row.data());
    if (p.norm) {
      const float inv = InverseRms(x, p.head_dim, p.eps);
      NormRow(x, weight, nullptr, nullptr, inv, p.weight_offset, 1.0f, p.head_dim, out);
    } else if (x != out) {
      std::memcpy(out, x, static_cast<size_t>(p.head_dim) * sizeof(float));
    }
    RotateHead(p, cos, sin, pairs, out);
    if (!direct) store_f32(p.dtype, out, p.head_dim, p.out, at);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(RopeHeads);

namespace {

// A task is as many heads of one token as make 8192 elements.
int64_t heads_per_task(const RopeParams& p) {
  return std::clamp<int64_t>(8192 / p.head_dim, 1, p.heads);
}

void launch(StreamImpl& stream, const RopeParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto heads = variant(HWY_DISPATCH_TABLE(RopeHeads), isa);
  const int64_t step = heads_per_task(p);
  const int64_t tasks_per_token = (p.heads + step - 1) / step;
  backends::cpu::cpu_stream(stream).dispatch(
      p.norm ? "head_norm_rope" : "rope", name, std::move(access), p.tokens * tasks_per_token,
      [p, heads, step, tasks_per_token](uint32_t task) {
        const int64_t begin = task % tasks_per_token * step;
        heads(p, task / tasks_per_token, begin, std::min(p.heads, begin + step));
      });
}

}  // namespace

void rope_avx512(StreamImpl& stream, const RopeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void rope_avx2(StreamImpl& stream, const RopeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void rope_baseline(StreamImpl& stream, const RopeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
