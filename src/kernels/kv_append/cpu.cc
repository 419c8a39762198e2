// SPDX-License-Identifier: Apache-2.0
// kv_append with SIMD. A task writes all heads of a few tokens of one sequence, K and V together.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kv_append/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"
#include "kernels/kv_append/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stores `lanes` floats rounded to nearest even.
template <class D>
HWY_INLINE void StoreRow(D d, hn::Vec<D> value, float* row) {
  hn::StoreU(value, d, row);
}

template <class D>
HWY_INLINE void StoreRow([[maybe_unused]] D d, hn::Vec<D> value, BF16* row) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(d32, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fffu)));
  // Rounding could carry a NaN into infinity; it is cut off instead and made quiet.
  const auto quiet = hn::Or(bits, hn::Set(d32, 0x00400000u));
  const auto result = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(value)), quiet, rounded);
  const hn::RebindToSigned<D> di32;
  const auto high = hn::BitCast(di32, hn::ShiftRight<16>(result));
  hn::StoreU(hn::DemoteTo(d16, high), d16, reinterpret_cast<uint16_t*>(row));
}

template <class D>
HWY_INLINE void StoreRow(D d, hn::Vec<D> value, F16* row) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d16, value), d16, reinterpret_cast<hwy::float16_t*>(row));
#else
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(value, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) row[i] = to_f16(lanes[i]);
#endif
}

template <class From, class To>
void ConvertRow(const From* from, To* to, int64_t count) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) StoreRow(d, LoadRow(d, from + i), to + i);
  for (; i < count; ++i) {
    const float value = hn::GetLane(LoadRow(d1, from + i));
    store_f32(std::is_same_v<To, F16>    ? DType::kF16
              : std::is_same_v<To, BF16> ? DType::kBF16
                                         : DType::kF32,
              &value, 1, to, i);
  }
}

// Rows of one stream: new tokens, and the cache they go to.
struct AppendStream {
  const void* src;
  void* cache;
  int64_t dim;
};

CacheRows RowsOf(const KvAppendParams& p, const AppendStream& s, int64_t b, int64_t head) {
  const int64_t width = p.num_kv_heads * s.dim;
  if (p.token_major) return cache_rows({}, b, head, p.capacity * width, s.dim, width);
  const int64_t slots = p.pages.table != nullptr ? p.pages.page_size : p.capacity;
  return cache_rows(p.pages, b, head, slots * width, slots * s.dim, s.dim);
}

// Tokens [begin, end) of sequence b.
template <class From, class To>
void AppendTokens(const KvAppendParams& p, const AppendStream& s, int64_t b, int64_t begin,
                  int64_t end) {
  const int64_t first = int64_t{p.pos[b]} + p.pos_skip;
  for (int64_t t = begin; t < end; ++t) {
    // A position that came from a device buffer has not been checked.
    const int64_t position = first + t;
    const int64_t slot = p.ring && position >= 0 ? position % p.capacity : position;
    if (slot < 0 || slot >= p.capacity) continue;
    for (int64_t h = 0; h < p.num_kv_heads; ++h) {
      const int64_t to = RowsOf(p, s, b, h).at(slot);
      if (to < 0) continue;
      const int64_t from = ((b * p.n_src + p.src_offset + t) * p.num_kv_heads + h) * s.dim;
      if constexpr (std::is_same_v<From, To>) {
        std::memcpy(static_cast<To*>(s.cache) + to, static_cast<const From*>(s.src) + from,
                    static_cast<size_t>(s.dim) * sizeof(To));
      } else {
        ConvertRow(static_cast<const From*>(s.src) + from, static_cast<To*>(s.cache) + to, s.dim);
      }
    }
  }
}

template <class From>
void AppendFrom(const KvAppendParams& p, const AppendStream& s, int64_t b, int64_t begin,
                int64_t end) {
  switch (p.cache_dtype) {
    case DType::kF16:
      return AppendTokens<From, F16>(p, s, b, begin, end);
    case DType::kBF16:
      return AppendTokens<From, BF16>(p, s, b, begin, end);
    default:
      return AppendTokens<From, float>(p, s, b, begin, end);
  }
}

void AppendStreamTokens(const KvAppendParams& p, const AppendStream& s, int64_t b, int64_t begin,
                        int64_t end) {
  switch (p.src_dtype) {
    case DType::kF16:
      return AppendFrom<F16>(p, s, b, begin, end);
    case DType::kBF16:
      return AppendFrom<BF16>(p, s, b, begin, end);
    default:
      return AppendFrom<float>(p, s, b, begin, end);
  }
}

void KvAppendTokens(const KvAppendParams& p, int64_t b, int64_t begin, int64_t end) {
  AppendStreamTokens(p, {p.k, p.k_cache, p.dim}, b, begin, end);
  if (p.v != nullptr) AppendStreamTokens(p, {p.v, p.v_cache, p.v_dim}, b, begin, end);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(KvAppendTokens);

namespace {

// About 8192 elements a task: a few microseconds, so that handing it out costs nothing.
int64_t tokens_per_task(const KvAppendParams& p) {
  return std::max<int64_t>(1, 8192 / (p.num_kv_heads * p.dim));
}

void launch(StreamImpl& stream, const KvAppendParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto append = variant(HWY_DISPATCH_TABLE(KvAppendTokens), isa);
  const int64_t step = tokens_per_task(p);
  const int64_t steps = base::ceil_div(p.n, step);
  backends::cpu::cpu_stream(stream).dispatch("kv_append", name, std::move(access), p.batch * steps,
                                             [p, step, steps, append](uint32_t task) {
                                               const int64_t b = task / steps,
                                                             begin = task % steps * step;
                                               const int64_t end = std::min(p.n, begin + step);
                                               append(p, b, begin, end);
                                             });
}

}  // namespace

void kv_append_avx512(StreamImpl& stream, const KvAppendParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void kv_append_avx2(StreamImpl& stream, const KvAppendParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void kv_append_baseline(StreamImpl& stream, const KvAppendParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
