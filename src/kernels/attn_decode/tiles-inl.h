// SPDX-License-Identifier: Apache-2.0
// The two products of decode attention, for a tile of query heads of one KV head over a block of
// keys. A key or value is widened once per tile and then serves all heads of it, whose sums stay in
// registers. Included once per Highway target, so the guard toggles.
#if defined(MLXN_KERNELS_ATTN_DECODE_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_ATTN_DECODE_TILES_INL_H_
#undef MLXN_KERNELS_ATTN_DECODE_TILES_INL_H_
#else
#define MLXN_KERNELS_ATTN_DECODE_TILES_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/common/attn_keys.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Most query heads of a tile.
constexpr int kHeadTile = HWY_MAX_BYTES > 32 ? 8 : 4;

// Keys of a dot product tile, and vectors of a value row, that go with kHeads heads: the product is
// at most 16 accumulators of the 32 registers of AVX-512, at most 8 of the 16 of AVX2, and where
// there are enough heads no less than the 8 that keep two multiply-add units of latency 4 busy.
template <int kHeads>
constexpr int kBeside = kHeads > kHeadTile / 2 ? 2 : 4;

// Memory that the step after this one reads. Asking for it line by line, at the pace at which this
// step reads its own, hides the latency of memory without queueing requests up.
struct Ahead {
  uintptr_t at = 0;
  uintptr_t end = 0;

  Ahead() = default;
  Ahead(const void* begin, size_t bytes)
      : at(reinterpret_cast<uintptr_t>(begin)), end(at + bytes) {}

  // Into the second-level cache: a block of rows would push the one in use out of the first.
  template <size_t kBytes>
  HWY_INLINE void ask() {
    constexpr size_t kLine = 64;
#pragma GCC unroll 8
    for (size_t i = 0; i < kBytes; i += kLine) {
      if (at >= end) return;
      __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 1);
      at += kLine;
    }
  }
};

// Sums of the lanes of v0 and v1 to low[0 .. 1], of v2 and v3 to high[0 .. 1].
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreSums(D d, V v0, V v1, V v2, V v3, float* low, float* high) {
#if HWY_TARGET == HWY_SCALAR
  hn::Store(v0, d, low);
  hn::Store(v1, d, low + 1);
  hn::Store(v2, d, high);
  hn::Store(v3, d, high + 1);
#else
  const hn::RepartitionToWide<D> wide;
  const hn::FixedTag<float, 4> d4;
  const hn::FixedTag<float, 2> d2;
  // Within each 128-bit block: pairs of sums of vectors 0 and 1, and of 2 and 3.
  const V a = hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1));
  const V b = hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3));
  const auto wa = hn::BitCast(wide, a), wb = hn::BitCast(wide, b);
  const V sum = hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, wa, wb)),
                        hn::BitCast(d, hn::InterleaveUpper(wide, wa, wb)));
#if HWY_MAX_BYTES > 32
  const hn::Half<D> d8;
  const auto half = hn::Add(hn::LowerHalf(d8, sum), hn::UpperHalf(d8, sum));
  const auto sums = hn::Add(hn::LowerHalf(d4, half), hn::UpperHalf(d4, half));
#elif HWY_MAX_BYTES > 16
  const auto sums = hn::Add(hn::LowerHalf(d4, sum), hn::UpperHalf(d4, sum));
#else
  const auto sums = sum;
#endif
  hn::Store(hn::LowerHalf(d2, sums), d2, low);
  hn::Store(hn::UpperHalf(d2, sums), d2, high);
#endif  // HWY_SCALAR
}

// acc[g][i] += q_g * k_i for one vector of each row; q: [kHeads, lanes].
template <int kHeads, int kKeys, class D, class V = hn::Vec<D>>
HWY_INLINE void MulAddKeys(D d, const float* q, const V (&k)[kKeys], V (&acc)[kHeads][kKeys]) {
#pragma GCC unroll 8
  for (int g = 0; g < kHeads; ++g) {
    const V qv = hn::Load(d, q + g * static_cast<int64_t>(hn::Lanes(d)));
#pragma GCC unroll 4
    for (int i = 0; i < kKeys; ++i) acc[g][i] = hn::MulAdd(k[i], qv, acc[g][i]);
  }
}

// scores[g * kAttnKeyTile + j] = <q_g, k_j> for the keys below `count` rounded up to a multiple of
// four; the rows beyond count repeat a valid one. q: [dim / lanes, kHeads, lanes], its last vectors
// padded with zeros.
template <int kHeads, class T>
void DotTile(const float* q, const T* const* keys, int64_t count, int64_t dim, Ahead& next,
             float* scores) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int kKeys = kBeside<kHeads>;
  constexpr size_t kBytes = kKeys * sizeof(T) * hn::MaxLanes(d);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Ahead ahead = next;
  for (int64_t j = 0; j < count; j += kKeys) {
    V acc[kHeads][kKeys], k[kKeys];
#pragma GCC unroll 8
    for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 4
      for (int i = 0; i < kKeys; ++i) acc[g][i] = hn::Zero(d);
    }
    const float* qc = q;
    int64_t c = 0;
    for (; c + lanes <= dim; c += lanes, qc += kHeads * lanes) {
      ahead.ask<kBytes>();
#pragma GCC unroll 4
      for (int i = 0; i < kKeys; ++i) k[i] = LoadRow(d, keys[j + i] + c);
      MulAddKeys<kHeads, kKeys>(d, qc, k, acc);
    }
    if (c < dim) {
#pragma GCC unroll 4
      for (int i = 0; i < kKeys; ++i) k[i] = LoadRowPadded(d, keys[j + i], c, dim);
      MulAddKeys<kHeads, kKeys>(d, qc, k, acc);
    }
    if constexpr (kKeys == 4) {
#pragma GCC unroll 8
      for (int g = 0; g < kHeads; ++g) {
        float* row = scores + g * kAttnKeyTile + j;
        StoreSums(d, acc[g][0], acc[g][1], acc[g][2], acc[g][3], row, row + 2);
      }
    } else {
      // Heads in pairs; an odd last one is its own pair.
#pragma GCC unroll 8
      for (int g = 0; g < kHeads; g += 2) {
        const int h = g + 1 < kHeads ? g + 1 : g;
        StoreSums(d, acc[g][0], acc[g][1], acc[h][0], acc[h][1], scores + g * kAttnKeyTile + j,
                  scores + h * kAttnKeyTile + j);
      }
    }
  }
  next = ahead;
}

// Columns [at, at + kVectors * lanes) of out_g = out_g * factor_g + sum_j weight_gj v_j.
template <int kHeads, int kVectors, class T>
HWY_INLINE void ValueColumns(const float* weights, const float* factors, const T* const* values,
                             int64_t count, int64_t dim, int64_t at, Ahead& next, float* out,
                             int64_t stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  constexpr size_t kBytes = kVectors * sizeof(T) * hn::MaxLanes(d);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Ahead ahead = next;
  V acc[kHeads][kVectors];
#pragma GCC unroll 8
  for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) acc[g][i] = hn::Zero(d);
  }
  for (int64_t j = 0; j < count; ++j) {
    ahead.ask<kBytes>();
    V v[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      v[i] = kVectors == 1 ? LoadRowPadded(d, values[j], at, dim)
                           : LoadRow(d, values[j] + at + i * lanes);
    }
#pragma GCC unroll 8
    for (int g = 0; g < kHeads; ++g) {
      const V w = hn::Set(d, weights[g * kAttnKeyTile + j]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) acc[g][i] = hn::MulAdd(w, v[i], acc[g][i]);
    }
  }
#pragma GCC unroll 8
  for (int g = 0; g < kHeads; ++g) {
    const V factor = hn::Set(d, factors[g]);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      float* target = out + g * stride + at + i * lanes;
      hn::Store(hn::MulAdd(hn::Load(d, target), factor, acc[g][i]), d, target);
    }
  }
  next = ahead;
}

// out_g = out_g * factors[g] + sum_j weights[g * kAttnKeyTile + j] v_j over `count` keys.
template <int kHeads, class T>
void ValueTile(const float* weights, const float* factors, const T* const* values, int64_t count,
               int64_t dim, Ahead& next, float* out, int64_t stride) {
  constexpr int kVectors = kBeside<kHeads>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  int64_t at = 0;
  for (; at + kVectors * lanes <= dim; at += kVectors * lanes) {
    ValueColumns<kHeads, kVectors>(weights, factors, values, count, dim, at, next, out, stride);
  }
  for (; at < dim; at += lanes) {
    ValueColumns<kHeads, 1>(weights, factors, values, count, dim, at, next, out, stride);
  }
}

template <class T>
using DotTileFn = void (*)(const float*, const T* const*, int64_t, int64_t, Ahead&, float*);
template <class T>
using ValueTileFn = void (*)(const float*, const float*, const T* const*, int64_t, int64_t, Ahead&,
                             float*, int64_t);

// Element n - 1 serves a tile of n heads.
template <class T>
struct TileFns {
  std::array<DotTileFn<T>, kHeadTile> dot;
  std::array<ValueTileFn<T>, kHeadTile> value;
};

template <class T, int... kLess>
constexpr TileFns<T> MakeTileFns(std::integer_sequence<int, kLess...>) {
  return {{DotTile<kLess + 1, T>...}, {ValueTile<kLess + 1, T>...}};
}

template <class T>
constexpr TileFns<T> kTileFns = MakeTileFns<T>(std::make_integer_sequence<int, kHeadTile>());

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
