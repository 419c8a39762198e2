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

#include "kernels/attn_decode/ahead.h"
#include "kernels/common/attn_keys.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Most query heads of a tile.
constexpr int kHeadTile = HWY_MAX_BYTES > 32 ? 8 : 4;

// Heads whose dot products with four keys are formed together: as many accumulators as leave half
// of the registers for operands. A larger tile takes two turns at each four keys.
constexpr int kDotHeads = kHeadTile / 2;

// Vectors of a value row that go with kHeads heads: at most 16 accumulators of the 32 registers of
// AVX-512 and 8 of the 16 of AVX2.
template <int kHeads>
constexpr int kValueVectors = kHeads > kDotHeads ? 2 : 4;

// sums[i] = the sum of the lanes of v[i].
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreSums(D d, const V (&v)[4], float* sums) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i) hn::Store(v[i], d, sums + i);
#else
  const hn::RepartitionToWide<D> wide;
  const hn::FixedTag<float, 4> d4;
  // Within each 128-bit block: pairs of sums of vectors 0 and 1, and of 2 and 3.
  const V a = hn::Add(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
  const V b = hn::Add(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
  const auto wa = hn::BitCast(wide, a), wb = hn::BitCast(wide, b);
  const V sum = hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, wa, wb)),
                        hn::BitCast(d, hn::InterleaveUpper(wide, wa, wb)));
#if HWY_MAX_BYTES > 32
  const hn::Half<D> d8;
  const auto half = hn::Add(hn::LowerHalf(d8, sum), hn::UpperHalf(d8, sum));
  hn::Store(hn::Add(hn::LowerHalf(d4, half), hn::UpperHalf(d4, half)), d4, sums);
#elif HWY_MAX_BYTES > 16
  hn::Store(hn::Add(hn::LowerHalf(d4, sum), hn::UpperHalf(d4, sum)), d4, sums);
#else
  hn::Store(sum, d4, sums);
#endif
#endif  // HWY_SCALAR
}

// acc[g][i] += q_g * k_i for one vector of each row; q: [kHeads, lanes].
template <int kHeads, class D, class V = hn::Vec<D>>
HWY_INLINE void MulAddKeys(D d, const float* q, const V (&k)[4], V (&acc)[kHeads][4]) {
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
    const V qv = hn::Load(d, q + g * static_cast<int64_t>(hn::Lanes(d)));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc[g][i] = hn::MulAdd(k[i], qv, acc[g][i]);
  }
}

// scores[g * kAttnKeyTile + j] = <q_g, k_j> for kHeads heads and four keys, of q with q_heads
// heads. Asks for kBytes at each vector.
template <int kHeads, size_t kBytes, class T>
HWY_INLINE void DotFour(const float* q, int64_t q_heads, const T* const* keys, int64_t dim,
                        Ahead& ahead, float* scores) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V acc[kHeads][4], k[4];
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc[g][i] = hn::Zero(d);
  }
  int64_t c = 0;
  for (; c + lanes <= dim; c += lanes, q += q_heads * lanes) {
    ahead.ask<kBytes>();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) k[i] = LoadRow(d, keys[i] + c);
    MulAddKeys<kHeads>(d, q, k, acc);
  }
  if (c < dim) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) k[i] = LoadRowPadded(d, keys[i], c, dim);
    MulAddKeys<kHeads>(d, q, k, acc);
  }
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) StoreSums(d, acc[g], scores + g * kAttnKeyTile);
}

// scores[g * kAttnKeyTile + j] = <q_g, k_j> for the keys below `count` rounded up to a multiple of
// four; the rows beyond count repeat a valid one. q: [dim / lanes, kHeads, lanes], its last vectors
// padded with zeros.
template <int kHeads, class T>
void DotTile(const float* q, const T* const* keys, int64_t count, int64_t dim, Ahead& next,
             float* scores) {
  constexpr int64_t kLanes = hn::MaxLanes(hn::ScalableTag<float>());
  constexpr int kTurns = kHeads > kDotHeads ? 2 : 1;
  constexpr int kFirst = (kHeads + kTurns - 1) / kTurns;
  constexpr size_t kBytes = 4 * sizeof(T) * kLanes / kTurns;
  Ahead ahead = next;
  for (int64_t j = 0; j < count; j += 4) {
    DotFour<kFirst, kBytes>(q, kHeads, keys + j, dim, ahead, scores + j);
    if constexpr (kTurns == 2) {
      DotFour<kHeads - kFirst, kBytes>(q + kFirst * kLanes, kHeads, keys + j, dim, ahead,
                                       scores + kFirst * kAttnKeyTile + j);
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
  constexpr int kVectors = kValueVectors<kHeads>;
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
