// SPDX-License-Identifier: Apache-2.0
// matmul with f32, f16 or bf16 weights. Lanes run along k; each output has one vector of partial
// sums, which after kFlush steps is added to a vector of totals, so that rounding grows with
// K / (kFlush * lanes) and not with K. Which rows share a tile changes none of this.
#include "kernels/matmul/cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/dense.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/common/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::matmul::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Tiles of outputs by number of registers: kTileM x kTileN accumulators.
#if HWY_TARGET <= HWY_AVX3
constexpr int kTileM = 6, kTileN = 4, kFlush = 16;
#elif HWY_TARGET <= HWY_AVX2
constexpr int kTileM = 3, kTileN = 4, kFlush = 16;
#elif HWY_TARGET != HWY_SCALAR
constexpr int kTileM = 2, kTileN = 4, kFlush = 8;
#else
constexpr int kTileM = 2, kTileN = 4, kFlush = 32;
#endif
constexpr int kVectorN = 8;  // weight rows at once for one row of x: independent sums hide latency

HWY_INLINE V LoadWide(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE V LoadWide(const hwy::float16_t* p) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(D(), hn::LoadU(d16, p));
}
HWY_INLINE V LoadWide(const hwy::bfloat16_t* p) {
  const hn::Rebind<hwy::bfloat16_t, D> d16;
  return hn::PromoteTo(D(), hn::LoadU(d16, p));
}

// sums += x (columns) times w, `steps` vectors from element k on.
template <int kM, int kN, typename T>
HWY_INLINE void Accumulate(const float* const* x, const T* const* w, int64_t k, int steps,
                           V (&sums)[kM][kN]) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int s = 0; s < steps; ++s, k += lanes) {
    V wv[kN];
    for (int n = 0; n < kN; ++n) wv[n] = LoadWide(w[n] + k);
    for (int m = 0; m < kM; ++m) {
      const V xv = hn::LoadU(D(), x[m] + k);
      for (int n = 0; n < kN; ++n) sums[m][n] = hn::MulAdd(xv, wv[n], sums[m][n]);
    }
  }
}

// out[m][n] = x[m] . w[n]; out rows are kOutStride apart.
template <int kM, int kN, typename T>
void DotTile(const float* const* x, const T* const* w, int64_t dim, float* out, int out_stride) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V totals[kM][kN];
  for (auto& row : totals) {
    for (V& v : row) v = hn::Zero(d);
  }
  const int64_t whole = dim / lanes;
  for (int64_t step = 0; step < whole; step += kFlush) {
    V sums[kM][kN];
    for (auto& row : sums) {
      for (V& v : row) v = hn::Zero(d);
    }
    Accumulate<kM, kN>(x, w, step * lanes,
                       static_cast<int>(std::min<int64_t>(kFlush, whole - step)), sums);
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) totals[m][n] = hn::Add(totals[m][n], sums[m][n]);
    }
  }
  if (whole * lanes < dim) {
    // The last elements, padded with zeros: nothing is read past a row.
    const size_t rest = static_cast<size_t>(dim - whole * lanes);
    HWY_ALIGN float x_rest[kM][hn::MaxLanes(D())] = {};
    HWY_ALIGN T w_rest[kN][hn::MaxLanes(D())];
    memset(w_rest, 0, sizeof(w_rest));
    const float* x_rows[kM];
    const T* w_rows[kN];
    for (int m = 0; m < kM; ++m) {
      memcpy(x_rest[m], x[m] + whole * lanes, rest * sizeof(float));
      x_rows[m] = x_rest[m];
    }
    for (int n = 0; n < kN; ++n) {
      memcpy(w_rest[n], w[n] + whole * lanes, rest * sizeof(T));
      w_rows[n] = w_rest[n];
    }
    Accumulate<kM, kN>(x_rows, w_rows, 0, 1, totals);
  }
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      out[m * out_stride + n] = hn::GetLane(hn::SumOfLanes(d, totals[m][n]));
    }
  }
}

// m <= kM rows: the instance for exactly m.
template <int kM, int kN, typename T>
void DotTileRows(int m, const float* const* x, const T* const* w, int64_t dim, float* out,
                 int out_stride) {
  if (m == kM) return DotTile<kM, kN>(x, w, dim, out, out_stride);
  if constexpr (kM > 1) DotTileRows<kM - 1, kN>(m, x, w, dim, out, out_stride);
}

template <typename T>
void RunTyped(const Tile& tile) {
  const MatmulParams& p = *tile.params;
  const int64_t dim = p.weight.cols;
  const int rows = tile.rows->count;
  const int panel = rows == 1 ? kVectorN : kTileN;
  const float* x[kMaxTileRows];
  for (int m = 0; m < rows; ++m) x[m] = reinterpret_cast<const float*>(tile.staged_row(m));
  float out[kMaxTileRows * kVectorN];
  for (int64_t n = tile.n_begin; n < tile.n_end; n += panel) {
    const T* w[kVectorN];
    for (int i = 0; i < panel; ++i) {
      w[i] = reinterpret_cast<const T*>(
          p.weight.row_data(tile.expert, std::min(n + i, p.weight.rows - 1)));
    }
    if (rows == 1) {
      DotTile<1, kVectorN>(x, w, dim, out, panel);
    } else {
      for (int m = 0; m < rows; m += kTileM) {
        DotTileRows<kTileM, kTileN>(std::min(kTileM, rows - m), x + m, w, dim, out + m * panel,
                                    panel);
      }
    }
    const int64_t count = std::min<int64_t>(panel, tile.n_end - n);
    for (int m = 0; m < rows; ++m) {
      store_row(p, tile.rows->out_row[m], n, count, out + m * panel);
    }
  }
}

void RunDense(const Tile& tile) {
  switch (tile.params->weight.format) {
    case Format::kF16:
      return RunTyped<hwy::float16_t>(tile);
    case Format::kBF16:
      return RunTyped<hwy::bfloat16_t>(tile);
    default:
      return RunTyped<float>(tile);
  }
}

}  // namespace mlxn::kernels::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels::matmul {

HWY_EXPORT(RunDense);

void run_dense_avx512(const Tile& tile) {
  variant(HWY_DISPATCH_TABLE(RunDense), Isa::kAvx512)(tile);
}
void run_dense_avx2(const Tile& tile) { variant(HWY_DISPATCH_TABLE(RunDense), Isa::kAvx2)(tile); }
void run_dense_baseline(const Tile& tile) {
  variant(HWY_DISPATCH_TABLE(RunDense), Isa::kBaseline)(tile);
}

}  // namespace mlxn::kernels::matmul
#endif  // HWY_ONCE
