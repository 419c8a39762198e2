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
#include <cstring>

#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"

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
constexpr int64_t kChunkElements = 256;
static_assert(kChunkElements % (kFlush * hn::MaxLanes(D())) == 0);
constexpr int kGroupN = 64;  // weight rows whose totals are kept for up to 64 rows of x
constexpr int kVectorN = 8;  // weight rows at once for one row of x: independent sums hide latency

HWY_INLINE V LoadWide(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE V LoadWide(const hwy::float16_t* p) {
  return kernels::HWY_NAMESPACE::WidenF16(D(), reinterpret_cast<const uint16_t*>(p));
}
HWY_INLINE V LoadWide(const hwy::bfloat16_t* p) {
  const hn::Rebind<hwy::bfloat16_t, D> d16;
  return hn::PromoteTo(D(), hn::LoadU(d16, p));
}

// sums += x (columns) times w, `steps` vectors from element k on. What follows `ahead` elements on,
// in the same rows or in those that come next, is fetched into the first-level cache meanwhile: so
// many streams at once, and such short ones, are more than the hardware follows.
template <int kM, int kN, typename T>
HWY_INLINE void Accumulate(const float* const* x, const T* const* w, int64_t k, int steps,
                           int64_t ahead, V (&sums)[kM][kN]) {
  constexpr bool kFetches = HWY_TARGET <= HWY_AVX3;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int s = 0; s < steps; ++s, k += lanes) {
    if constexpr (kFetches) {
      for (int n = 0; n < kN; ++n) __builtin_prefetch(w[n] + (k + ahead), 0, 3);
    }
    V wv[kN];
    for (int n = 0; n < kN; ++n) wv[n] = LoadWide(w[n] + k);
    for (int m = 0; m < kM; ++m) {
      const V xv = hn::LoadU(D(), x[m] + k);
      for (int n = 0; n < kN; ++n) sums[m][n] = hn::MulAdd(xv, wv[n], sums[m][n]);
    }
  }
}

// totals += x . w over whole vectors [begin, end) of the rows, kFlush of them at a time; totals:
// one vector of kM rows of kN, kGroupN vectors apart. begin is a multiple of kFlush.
template <int kM, int kN, typename T>
HWY_INLINE void AddBlocks(const float* const* x, const T* const* w, int64_t begin, int64_t end,
                          int64_t ahead, float* totals) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t step = begin; step < end; step += kFlush) {
    V sums[kM][kN];
    for (auto& row : sums) {
      for (V& v : row) v = hn::Zero(d);
    }
    Accumulate<kM, kN>(x, w, step * lanes, static_cast<int>(std::min<int64_t>(kFlush, end - step)),
                       ahead, sums);
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        float* total = totals + (m * kGroupN + n) * lanes;
        hn::Store(hn::Add(hn::Load(d, total), sums[m][n]), d, total);
      }
    }
  }
}

// totals += the last dim % lanes products, padded with zeros: nothing is read past a row.
template <int kM, int kN, typename T>
HWY_INLINE void AddRest(const float* const* x, const T* const* w, int64_t dim, float* totals) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), whole = dim / lanes * lanes;
  const size_t rest = static_cast<size_t>(dim - whole);
  HWY_ALIGN float x_rest[kM][hn::MaxLanes(D())] = {};
  HWY_ALIGN T w_rest[kN][hn::MaxLanes(D())];
  memset(w_rest, 0, sizeof(w_rest));
  const float* x_rows[kM];
  const T* w_rows[kN];
  for (int m = 0; m < kM; ++m) {
    memcpy(x_rest[m], x[m] + whole, rest * sizeof(float));
    x_rows[m] = x_rest[m];
  }
  for (int n = 0; n < kN; ++n) {
    memcpy(w_rest[n], w[n] + whole, rest * sizeof(T));
    w_rows[n] = w_rest[n];
  }
  V sums[kM][kN];
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) sums[m][n] = hn::Load(d, totals + (m * kGroupN + n) * lanes);
  }
  Accumulate<kM, kN>(x_rows, w_rows, 0, 1, 0, sums);
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) hn::Store(sums[m][n], d, totals + (m * kGroupN + n) * lanes);
  }
}

// Vectors [begin, end) of m <= kM rows, and the rest of the rows if `end` is the last vector: the
// instance for exactly m.
template <int kM, int kN, typename T>
HWY_INLINE void AddRows(int m, const float* const* x, const T* const* w, int64_t begin, int64_t end,
                        int64_t dim, int64_t ahead, float* totals) {
  if (m == kM) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
    AddBlocks<kM, kN>(x, w, begin, end, ahead, totals);
    if (end == dim / lanes && dim % lanes != 0) AddRest<kM, kN>(x, w, dim, totals);
    return;
  }
  if constexpr (kM > 1) AddRows<kM - 1, kN>(m, x, w, begin, end, dim, ahead, totals);
}

// Weight rows from n on; past the end of the weight the last repeats.
template <typename T>
struct WeightRows {
  const T* w[kGroupN];
  WeightRows(const Tile& tile, int64_t n) {
    const quant::WeightView& weight = tile.params->weight;
    for (int i = 0; i < kGroupN; ++i) {
      w[i] = reinterpret_cast<const T*>(
          weight.row_data(tile.expert, std::min(n + i, weight.rows - 1)));
    }
  }
};

// Vectors [begin, end) of `count` weight rows times those of all rows of x, tile by tile. Meanwhile
// the elements of the weight rows that follow are fetched into the second-level cache.
template <typename T>
HWY_INLINE void AddTiles(const float* const* x, int rows, const WeightRows<T>& weight,
                         int64_t count, int64_t begin, int64_t end, int64_t dim, float* totals) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  constexpr int64_t kLine = 64 / sizeof(T), kLines = kChunkElements / kLine;
  const int64_t lines = end * lanes < dim ? count * kLines : 0;
  const int64_t tiles = (rows + kTileM - 1) / kTileM * ((count + kTileN - 1) / kTileN);
  int64_t tile = 0, fetched = 0;
  for (int m = 0; m < rows; m += kTileM) {
    for (int i = 0; i < count; i += kTileN) {
      for (const int64_t due = lines * ++tile / tiles; fetched < due; ++fetched) {
        const T* row = weight.w[fetched / kLines] + end * lanes;
        __builtin_prefetch(row + fetched % kLines * kLine, 0, 2);
      }
      const int64_t ahead = weight.w[i + kTileN < count ? i + kTileN : 0] - weight.w[i];
      AddRows<kTileM, kTileN>(std::min(kTileM, rows - m), x + m, weight.w + i, begin, end, dim,
                              ahead, totals + (m * kGroupN + i) * lanes);
    }
  }
}

// kGroupN weight rows at a time. Rows of x pass in chunks, so that those of a tile stay in the
// first-level cache while the weight rows go by, and those of up to 64 rows in the second.
template <typename T>
void RunTyped(const Tile& tile) {
  const D d;
  const MatmulParams& p = *tile.params;
  const int64_t dim = p.weight.cols, lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = dim / lanes;
  const int rows = tile.rows->count;
  const float* x[kMaxTileRows];
  for (int m = 0; m < rows; ++m) x[m] = reinterpret_cast<const float*>(tile.staged_row(m));
  constexpr int64_t kRowAhead = 512 / sizeof(T);
  // With a product or less per byte of the weight memory decides, and likes whole rows.
  const bool few = rows < static_cast<int>(sizeof(T));
  const int64_t chunk = few ? std::max<int64_t>(whole, 1) : kChunkElements / lanes;
  HWY_ALIGN float totals[kMaxTileRows * kGroupN * hn::MaxLanes(D())];
  for (int64_t n = tile.n_begin; n < tile.n_end; n += kGroupN) {
    const WeightRows<T> weight(tile, n);
    const int64_t count = std::min<int64_t>(kGroupN, tile.n_end - n);
    std::fill_n(totals, rows * kGroupN * lanes, 0.0f);
    int64_t begin = 0;
    do {
      const int64_t end = std::min(whole, begin + chunk);
      if (rows == 1) {
        for (int i = 0; i < count; i += kVectorN) {
          AddRows<1, kVectorN>(1, x, weight.w + i, begin, end, dim, kRowAhead, totals + i * lanes);
        }
      } else {
        AddTiles(x, rows, weight, count, begin, end, dim, totals);
      }
      begin = end;
    } while (begin < whole);
    float out[kGroupN];
    for (int m = 0; m < rows; ++m) {
      for (int i = 0; i < count; ++i) {
        out[i] = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, totals + (m * kGroupN + i) * lanes)));
      }
      store_row(p, tile.rows->out_row[m], n, count, out);
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
