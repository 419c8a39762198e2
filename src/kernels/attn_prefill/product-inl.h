// SPDX-License-Identifier: Apache-2.0
// The matrix products of prefill attention over f32 tiles: scores, and weighted sums of values.
// Included once per Highway target, so the guard toggles.
#if defined(MLXN_KERNELS_ATTN_PREFILL_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_ATTN_PREFILL_PRODUCT_INL_H_
#undef MLXN_KERNELS_ATTN_PREFILL_PRODUCT_INL_H_
#else
#define MLXN_KERNELS_ATTN_PREFILL_PRODUCT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "base/checked.h"
#include "kernels/common/attn_keys.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows and vectors of the micro-kernel: their product of accumulators fills the registers.
constexpr int kRows = 6;
constexpr int kVectors = HWY_MAX_BYTES > 32 ? 4 : 2;

// What the micro-kernel does with its sums.
enum class Store { kSet, kScaleAndAdd };

// Terms that are added up one after the other: sums of more are sums of such sums, so that rounding
// grows less with the head dim.
constexpr int64_t kChain = 128;

// c[r, n] = sum_k a[r, k] b[k, n], or c[r, n] * factor[r] + that sum, for a block of kR rows and kV
// vectors of columns.
template <Store kStore, int kR, int kV>
HWY_INLINE void MicroKernel(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                            int64_t depth, const float* factors, float* c, int64_t c_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t k = 0;
  do {
    const bool first = k == 0;
    const int64_t end = std::min(depth, k + kChain);
    V acc[kR][kV];
#pragma GCC unroll 6
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kV; ++i) acc[r][i] = hn::Zero(d);
    }
    for (; k < end; ++k) {
      V bv[kV];
#pragma GCC unroll 4
      for (int i = 0; i < kV; ++i) bv[i] = hn::Load(d, b + k * b_stride + i * lanes);
#pragma GCC unroll 6
      for (int r = 0; r < kR; ++r) {
        const V av = hn::Set(d, a[r * a_stride + k]);
#pragma GCC unroll 4
        for (int i = 0; i < kV; ++i) acc[r][i] = hn::MulAdd(av, bv[i], acc[r][i]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kV; ++i) {
        float* target = c + r * c_stride + i * lanes;
        if (!first) {
          acc[r][i] = hn::Add(hn::Load(d, target), acc[r][i]);
        } else if constexpr (kStore == Store::kScaleAndAdd) {
          acc[r][i] = hn::MulAdd(hn::Load(d, target), hn::Set(d, factors[r]), acc[r][i]);
        }
        hn::Store(acc[r][i], d, target);
      }
    }
  } while (k < depth);
}

// Rows of the key tile that comes next. Asking for a few of them beside each block of rows of a
// product hides the latency of memory, for which loading the tile would otherwise wait.
struct RowsAhead {
  const char* k = nullptr;
  const char* v = nullptr;
  int64_t k_bytes = 0;  // of a row
  int64_t v_bytes = 0;
  int64_t k_stride = 0;  // bytes
  int64_t v_stride = 0;
  int64_t left = 0;  // rows

  // Into the second-level cache; the first one holds what the product uses.
  void ask(int64_t rows) {
    constexpr int64_t kLine = 64;
    for (rows = std::min(rows, left); rows > 0; --rows, --left, k += k_stride, v += v_stride) {
      for (int64_t c = 0; c < k_bytes; c += kLine) __builtin_prefetch(k + c, 0, 1);
      for (int64_t c = 0; c < v_bytes; c += kLine) __builtin_prefetch(v + c, 0, 1);
    }
  }
};

template <Store kStore, int kR>
void ColumnsOf(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
               const float* factors, float* c, int64_t c_stride, int64_t columns) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  int64_t n = 0;
  for (; n + kVectors * lanes <= columns; n += kVectors * lanes) {
    MicroKernel<kStore, kR, kVectors>(a, a_stride, b + n, b_stride, depth, factors, c + n,
                                      c_stride);
  }
  for (; n < columns; n += lanes) {
    MicroKernel<kStore, kR, 1>(a, a_stride, b + n, b_stride, depth, factors, c + n, c_stride);
  }
}

// rows x columns; columns is a multiple of kPad, b and c are aligned.
template <Store kStore>
void Product(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
             const float* factors, float* c, int64_t c_stride, int64_t rows, int64_t columns,
             RowsAhead& ahead) {
  int64_t r = 0;
  // Both products of a tile together ask for all of its rows.
  const int64_t asked = base::ceil_div(kAttnKeyTile, 2 * std::max<int64_t>(1, rows / kRows));
  const auto at = [&](auto fn) {
    ahead.ask(asked);
    fn(a + r * a_stride, a_stride, b, b_stride, depth, factors + r, c + r * c_stride, c_stride,
       columns);
  };
  for (; r + kRows <= rows; r += kRows) at(ColumnsOf<kStore, kRows>);
  for (; r + 2 <= rows; r += 2) at(ColumnsOf<kStore, 2>);
  for (; r < rows; ++r) at(ColumnsOf<kStore, 1>);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
