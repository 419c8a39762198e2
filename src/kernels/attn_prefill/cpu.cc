// SPDX-License-Identifier: Apache-2.0
// attn_prefill with SIMD. A task works on a tile of query rows of one KV head: all its query heads
// at a range of positions. It walks the key tiles these rows see, each at a multiple of
// kAttnKeyTile positions, converts K (transposed) and V to f32 once, and forms both products with
// one micro-kernel. A row is touched only by tiles in which it sees a key, and each of its sums is
// one fixed chain of fused multiply-adds, so its bits do not depend on the other rows of the tile.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_prefill/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/attn_prefill/cpu.h"
#include "kernels/common/attn_softmax-inl.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"

#ifndef MLXN_KERNELS_ATTN_PREFILL_TILES_
#define MLXN_KERNELS_ATTN_PREFILL_TILES_
namespace mlxn::kernels {

// Query positions of a tile. About 128 rows amortise the conversion of K and V; at head dim 512 the
// working set of 96 rows still fits 1 MiB of second-level cache.
inline int64_t positions_per_tile(const AttnPrefillParams& p) {
  const int64_t rows = p.head_dim + p.v_dim > 512 ? 96 : 128;
  return std::max<int64_t>(1, rows * p.num_kv_heads / p.num_heads);
}

}  // namespace mlxn::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Value rows are padded to this many floats with zeros.
constexpr int64_t kPad = 16;

// Rows and vectors of the micro-kernel: their product of accumulators fills the registers.
constexpr int kRows = 6;
constexpr int kVectors = HWY_MAX_BYTES > 32 ? 4 : 2;

// Keys that are transposed together: a cache line of the transposed tile, which is then written
// once as a whole.
constexpr int64_t kTransposeKeys = 16;

// What the micro-kernel does with its sums.
enum class Store { kSet, kScaleAndAdd };

// c[r, n] = sum_k a[r, k] b[k, n], or c[r, n] * factor[r] + that sum, for a block of kR rows and kV
// vectors of columns.
template <Store kStore, int kR, int kV>
HWY_INLINE void MicroKernel(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                            int64_t depth, const float* factors, float* c, int64_t c_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V acc[kR][kV];
#pragma GCC unroll 6
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kV; ++i) acc[r][i] = hn::Zero(d);
  }
  for (int64_t k = 0; k < depth; ++k) {
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
      if constexpr (kStore == Store::kScaleAndAdd) {
        acc[r][i] = hn::MulAdd(hn::Load(d, target), hn::Set(d, factors[r]), acc[r][i]);
      }
      hn::Store(acc[r][i], d, target);
    }
  }
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

// One task's position in the problem and its working set in thread scratch.
struct Tile {
  int64_t b;
  int64_t kv_head;
  int64_t group;      // query heads per KV head; row = i * group + g for query i, head g
  int64_t first;      // first query of the tile
  int64_t count;      // queries
  int64_t position;   // of the first query
  int64_t key_width;  // head_dim padded
  int64_t out_width;  // v_dim padded
  KeyMap map;
  float* q;         // [rows, head_dim]
  float* out;       // [rows, out_width]
  float* weights;   // [rows, kAttnKeyTile]: scores, then softmax weights
  float* factors;   // [rows]
  RowState* state;  // [rows]
  float* k;         // [head_dim, kAttnKeyTile]: the key tile, transposed
  float* v;         // [kAttnKeyTile, out_width]
  float* staging;   // [kTransposeKeys, key_width]
  float* hole;      // [kAttnKeyTile]: 0 where no key is held
};

Tile MakeTile(const AttnPrefillParams& p, int64_t b, int64_t kv_head, int64_t tile) {
  Tile t;
  const int64_t each = positions_per_tile(p);
  t.b = b;
  t.kv_head = kv_head;
  t.group = p.num_heads / p.num_kv_heads;
  t.first = tile * each;
  t.count = std::min(each, p.q_len - t.first);
  t.map = make_key_map(p.kv_len[b], p.ring_start ? p.ring_start[b] : 0, p.ring, p.capacity);
  t.position = t.first + (p.q_offset ? p.q_offset[b] : t.map.end - p.q_len);
  t.key_width = base::round_up(p.head_dim, kPad);
  t.out_width = base::round_up(p.v_dim, kPad);
  const int64_t rows = base::round_up(each * t.group, kPad);
  const int64_t row_floats = p.head_dim + t.out_width + kAttnKeyTile + 1 + 2;
  static_assert(sizeof(RowState) == 2 * sizeof(float));
  const int64_t key_floats =
      kAttnKeyTile * (p.head_dim + t.out_width + 1) + kTransposeKeys * t.key_width;
  t.q = attn_thread_scratch(static_cast<size_t>(rows * row_floats + key_floats));
  t.out = t.q + rows * p.head_dim;
  t.weights = t.out + rows * t.out_width;
  t.k = t.weights + rows * kAttnKeyTile;
  t.v = t.k + kAttnKeyTile * p.head_dim;
  t.staging = t.v + kAttnKeyTile * t.out_width;
  t.hole = t.staging + kTransposeKeys * t.key_width;
  t.factors = t.hole + kAttnKeyTile;
  t.state = reinterpret_cast<RowState*>(t.factors + rows);
  std::fill_n(t.out, rows * t.out_width, 0.0f);
  std::fill_n(t.state, rows, RowState{});
  return t;
}

void LoadQueries(const AttnPrefillParams& p, const Tile& t) {
  for (int64_t i = 0; i < t.count; ++i) {
    for (int64_t g = 0; g < t.group; ++g) {
      const int64_t head = t.kv_head * t.group + g;
      const int64_t at =
          t.b * p.q_strides.batch + head * p.q_strides.head + (t.first + i) * p.q_strides.row;
      load_f32(p.q_dtype, p.q, at, p.head_dim, t.q + (i * t.group + g) * p.head_dim);
    }
  }
}

// kTransposeKeys rows of `count` floats become columns of a matrix of rows of kAttnKeyTile.
HWY_INLINE void TransposeKeys(const float* rows, int64_t stride, int64_t count, float* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t j = 0; j < kTransposeKeys; ++j) out[c * kAttnKeyTile + j] = rows[j * stride + c];
  }
#else
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  for (int64_t c = 0; c < count; c += 4) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < kTransposeKeys; j += 4) {
      const float* row = rows + j * stride + c;
      const auto r0 = hn::LoadU(d, row), r1 = hn::LoadU(d, row + stride);
      const auto r2 = hn::LoadU(d, row + 2 * stride), r3 = hn::LoadU(d, row + 3 * stride);
      const auto a = hn::BitCast(wide, hn::InterleaveLower(d, r0, r1));
      const auto b = hn::BitCast(wide, hn::InterleaveLower(d, r2, r3));
      const auto e = hn::BitCast(wide, hn::InterleaveUpper(d, r0, r1));
      const auto f = hn::BitCast(wide, hn::InterleaveUpper(d, r2, r3));
      float* target = out + c * kAttnKeyTile + j;
      hn::Store(hn::BitCast(d, hn::InterleaveLower(wide, a, b)), d, target);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(wide, a, b)), d, target + kAttnKeyTile);
      hn::Store(hn::BitCast(d, hn::InterleaveLower(wide, e, f)), d, target + 2 * kAttnKeyTile);
      hn::Store(hn::BitCast(d, hn::InterleaveUpper(wide, e, f)), d, target + 3 * kAttnKeyTile);
    }
  }
#endif
}

// A row of `dim` elements as f32, padded with zeros to `width`. Returns dim zeros for a null row.
template <class T>
HWY_INLINE void WidenRow(const T* row, int64_t dim, float* out, int64_t width) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (row == nullptr) {
    std::fill_n(out, width, 0.0f);
    return;
  }
  // dim is a multiple of 8 and width of 16, so with 4 or 8 lanes whole vectors of padding may
  // follow.
  int64_t c = 0;
  for (; c < dim; c += lanes) hn::StoreU(LoadRowPadded(d, row, c, dim), d, out + c);
  if (c < width) std::fill_n(out + c, width - c, 0.0f);
}

// Whether all of `count` floats are finite; count is a multiple of 2 * kPad.
bool AllFinite(const float* values, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto zero = hn::Zero(d);
  // These stay 0 unless an infinity or NaN is multiplied by 0.
  auto even = zero, odd = zero;
  for (int64_t c = 0; c < count; c += 2 * lanes) {
    even = hn::MulAdd(hn::Load(d, values + c), zero, even);
    odd = hn::MulAdd(hn::Load(d, values + c + lanes), zero, odd);
  }
  return hn::AllTrue(d, hn::Eq(hn::Add(even, odd), zero));
}

// Positions [begin, end) of the key tile that starts at position `base`, as f32. Lanes without a
// key become zeros. hole is set where a position inside [begin, end) holds no key.
struct KeyTile {
  int64_t base;
  int64_t begin;
  int64_t end;
  bool has_holes;
  bool finite_values;
};

template <class T>
void LoadKeyTile(const AttnPrefillParams& p, const Tile& t, KeyTile& tile) {
  const T* k = static_cast<const T*>(p.k) + t.b * p.k_strides.batch + t.kv_head * p.k_strides.head;
  const T* v = static_cast<const T*>(p.v) + t.b * p.v_strides.batch + t.kv_head * p.v_strides.head;
  tile.has_holes = false;
  int64_t slot = t.map.slot(tile.base);
  for (int64_t j = 0; j < kAttnKeyTile; ++j, slot = t.map.next(slot)) {
    const int64_t position = tile.base + j;
    const bool inside = position >= tile.begin && position < tile.end;
    const bool held = inside && slot < t.map.num_valid;
    tile.has_holes |= inside && !held;
    t.hole[j] = held ? 1.0f : 0.0f;
    const int64_t row = j % kTransposeKeys;
    WidenRow(held ? k + slot * p.k_strides.row : nullptr, p.head_dim, t.staging + row * t.key_width,
             t.key_width);
    WidenRow(held ? v + slot * p.v_strides.row : nullptr, p.v_dim, t.v + j * t.out_width,
             t.out_width);
    if (row == kTransposeKeys - 1) {
      TransposeKeys(t.staging, t.key_width, p.head_dim, t.k + j - row);
    }
  }
  tile.finite_values = AllFinite(t.v, kAttnKeyTile * t.out_width);
}

void LoadKeys(const AttnPrefillParams& p, const Tile& t, KeyTile& tile) {
  switch (p.kv_dtype) {
    case DType::kF16:
      return LoadKeyTile<F16>(p, t, tile);
    case DType::kBF16:
      return LoadKeyTile<BF16>(p, t, tile);
    default:
      return LoadKeyTile<float>(p, t, tile);
  }
}

// Product of the weights with a value tile that holds infinities or NaN: keys of weight 0 are left
// out, since 0 times them is not 0. Otherwise the same chain of operations as Product.
void ProductOfVisible(const Tile& t, int64_t row_begin, int64_t row_end) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = row_begin; row < row_end; ++row) {
    const float* weights = t.weights + row * kAttnKeyTile;
    const auto factor = hn::Set(d, t.factors[row]);
    for (int64_t c = 0; c < t.out_width; c += lanes) {
      auto sum = hn::Zero(d);
      for (int64_t j = 0; j < kAttnKeyTile; ++j) {
        if (weights[j] == 0.0f) continue;
        sum = hn::MulAdd(hn::Set(d, weights[j]), hn::Load(d, t.v + j * t.out_width + c), sum);
      }
      float* target = t.out + row * t.out_width + c;
      hn::Store(hn::MulAdd(hn::Load(d, target), factor, sum), d, target);
    }
  }
}

// Folds one key tile into the queries [begin, end) of the tile.
void FoldTile(const AttnPrefillParams& p, const Tile& t, const KeyTile& tile, int64_t begin,
              int64_t end, RowsAhead& ahead) {
  const int64_t row = begin * t.group, rows = (end - begin) * t.group;
  Product<Store::kSet>(t.q + row * p.head_dim, p.head_dim, t.k, kAttnKeyTile, p.head_dim,
                       t.factors + row, t.weights + row * kAttnKeyTile, kAttnKeyTile, rows,
                       kAttnKeyTile, ahead);
  const ScoreRule rule{p.softmax_scale, p.logits_soft_cap};
  for (int64_t i = begin; i < end; ++i) {
    const int64_t position = t.position + i;
    const int64_t oldest = p.window_size > 0 ? position - p.window_size + 1 : tile.begin;
    const int64_t newest = p.causal ? position : tile.end - 1;
    const TileVisible visible{std::max(oldest, tile.begin) - tile.base,
                              std::min(newest + 1, tile.end) - tile.base,
                              tile.has_holes ? t.hole : nullptr};
    for (int64_t r = i * t.group; r < (i + 1) * t.group; ++r) {
      t.factors[r] = SoftmaxTile(t.weights + r * kAttnKeyTile, visible, rule, t.state[r]);
    }
  }
  if (!tile.finite_values) return ProductOfVisible(t, row, row + rows);
  Product<Store::kScaleAndAdd>(t.weights + row * kAttnKeyTile, kAttnKeyTile, t.v, t.out_width,
                               kAttnKeyTile, t.factors + row, t.out + row * t.out_width,
                               t.out_width, rows, t.out_width, ahead);
}

// The key tile from position `base` on, up to where the ring wraps.
RowsAhead AheadOf(const AttnPrefillParams& p, const Tile& t, int64_t base, int64_t end) {
  if (base >= end) return {};
  const int64_t slot = t.map.slot(base), size = static_cast<int64_t>(size_of(p.kv_dtype));
  RowsAhead ahead;
  ahead.k =
      static_cast<const char*>(p.k) +
      size * (t.b * p.k_strides.batch + t.kv_head * p.k_strides.head + slot * p.k_strides.row);
  ahead.v =
      static_cast<const char*>(p.v) +
      size * (t.b * p.v_strides.batch + t.kv_head * p.v_strides.head + slot * p.v_strides.row);
  ahead.k_bytes = size * p.head_dim;
  ahead.v_bytes = size * p.v_dim;
  ahead.k_stride = size * p.k_strides.row;
  ahead.v_stride = size * p.v_strides.row;
  ahead.left = std::min({kAttnKeyTile, end - base, t.map.num_valid - slot});
  return ahead;
}

void StoreRows(const AttnPrefillParams& p, const Tile& t) {
  for (int64_t i = 0; i < t.count; ++i) {
    for (int64_t g = 0; g < t.group; ++g) {
      const int64_t row = i * t.group + g, head = t.kv_head * t.group + g;
      float* out = t.out + row * t.out_width;
      const float sum = t.state[row].sum;
      for (int64_t c = 0; c < p.v_dim; ++c) out[c] = sum == 0.0f ? 0.0f : out[c] / sum;
      const int64_t at =
          t.b * p.out_strides.batch + head * p.out_strides.head + (t.first + i) * p.out_strides.row;
      store_f32(p.q_dtype, out, p.v_dim, p.out, at);
    }
  }
}

void AttnPrefillTile(const AttnPrefillParams& p, int64_t b, int64_t kv_head, int64_t query_tile) {
  const Tile t = MakeTile(p, b, kv_head, query_tile);
  LoadQueries(p, t);
  const int64_t last = t.position + t.count - 1;
  int64_t key_begin = t.map.first, key_end = t.map.end;
  if (p.window_size > 0) key_begin = std::max(key_begin, t.position - p.window_size + 1);
  if (p.causal) key_end = std::min(key_end, last + 1);
  for (int64_t base = key_begin / kAttnKeyTile * kAttnKeyTile; base < key_end;
       base += kAttnKeyTile) {
    KeyTile tile{base, std::max(base, t.map.first), std::min(base + kAttnKeyTile, t.map.end), false,
                 true};
    // Queries that see a key of this tile: causal ones from position tile.begin on, windowed ones
    // before the tile's last key has left the window.
    const int64_t begin = p.causal ? std::max<int64_t>(0, tile.begin - t.position) : 0;
    const int64_t end =
        p.window_size > 0 ? std::min(t.count, tile.end - 1 + p.window_size - t.position) : t.count;
    if (begin >= end) continue;
    LoadKeys(p, t, tile);
    RowsAhead ahead = AheadOf(p, t, base + kAttnKeyTile, key_end);
    FoldTile(p, t, tile, begin, end, ahead);
  }
  StoreRows(p, t);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnPrefillTile);

namespace {

void launch(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto tile_fn = variant(HWY_DISPATCH_TABLE(AttnPrefillTile), isa);
  const int64_t tiles = base::ceil_div(p.q_len, positions_per_tile(p));
  backends::cpu::cpu_stream(stream).dispatch(
      "attn_prefill", name, std::move(access),
      static_cast<uint32_t>(p.batch * p.num_kv_heads * tiles), [p, tiles, tile_fn](uint32_t task) {
        const int64_t row = task / tiles;
        // Late tiles see more keys; they go first so that the threads finish together.
        tile_fn(p, row / p.num_kv_heads, row % p.num_kv_heads, tiles - 1 - task % tiles);
      });
}

}  // namespace

void attn_prefill_avx512(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void attn_prefill_avx2(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void attn_prefill_baseline(StreamImpl& stream, const AttnPrefillParams& p,
                           backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
