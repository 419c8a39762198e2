// SPDX-License-Identifier: Apache-2.0
// attn_prefill with SIMD, whatever K and V are stored as. A task works on a tile of query rows of
// one KV head: all its query heads at a range of positions. It walks the key tiles these rows see,
// each at a multiple of kAttnKeyTile positions, converts K (transposed) and V to f32 once, and
// forms both products with one micro-kernel. A row is touched only by tiles in which it sees a key,
// and each of its sums is one fixed chain of fused multiply-adds, so its bits do not depend on the
// other rows of the tile. Included once per Highway target, so the guard toggles.
#if defined(MLXN_KERNELS_ATTN_PREFILL_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLXN_KERNELS_ATTN_PREFILL_TILES_INL_H_
#undef MLXN_KERNELS_ATTN_PREFILL_TILES_INL_H_
#else
#define MLXN_KERNELS_ATTN_PREFILL_TILES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "kernels/attn_prefill/cpu_tiles.h"
#include "kernels/attn_prefill/mask_row-inl.h"
#include "kernels/attn_prefill/product-inl.h"
#include "kernels/attn_prefill/sequence.h"
#include "kernels/common/attn_mask.h"
#include "kernels/common/attn_softmax-inl.h"
#include "kernels/common/float_io.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Value rows are padded to this many floats with zeros.
constexpr int64_t kPad = 16;

// Keys that are transposed together: a cache line of the transposed tile, which is then written
// once as a whole.
constexpr int64_t kTransposeKeys = 16;

// One task's position in the problem and its working set in thread scratch.
struct Tile {
  PrefillSequence sequence;
  CacheRows k_rows;
  CacheRows v_rows;
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
  float* levels;    // [kTransposeKeys, the wider of key_width and out_width]: for a source's use
  float* hole;      // [kAttnKeyTile]: 0 where no key is held
  float* bias;      // [kAttnKeyTile]: what is added to the scores of one row
  SeenKeys* seen;   // [count]: of each query
};

// Rows of a KV head; of packed sequences those from position 0 on.
inline CacheRows RowsOf(const AttnPrefillParams& p, const AttnStrides& strides, const Tile& t) {
  CacheRows rows = cache_rows(p.pages, t.b, t.kv_head, strides.batch, strides.head, strides.row);
  rows.first += t.sequence.k_begin * strides.row;
  return rows;
}

inline Tile MakeTile(const AttnPrefillParams& p, int64_t b, int64_t kv_head, int64_t tile) {
  Tile t;
  const int64_t each = positions_per_tile(p);
  t.sequence = prefill_sequence(p, b);
  t.b = b;
  t.kv_head = kv_head;
  t.k_rows = RowsOf(p, p.k_strides, t);
  t.v_rows = RowsOf(p, p.v_strides, t);
  t.group = p.num_heads / p.num_kv_heads;
  t.first = tile * each;
  t.count = std::min(each, t.sequence.q_len - t.first);
  t.map = t.sequence.map;
  t.position = t.first + t.sequence.position;
  t.key_width = base::round_up(p.head_dim, kPad);
  t.out_width = base::round_up(p.v_dim, kPad);
  const int64_t rows = base::round_up(each * t.group, kPad);
  const int64_t row_floats = p.head_dim + t.out_width + kAttnKeyTile + 1 + 2 + 4;
  static_assert(sizeof(RowState) == 2 * sizeof(float));
  static_assert(sizeof(SeenKeys) == 4 * sizeof(float));
  const int64_t wider = std::max(t.key_width, t.out_width);
  const int64_t key_floats =
      kAttnKeyTile * (p.head_dim + t.out_width + 2) + kTransposeKeys * (t.key_width + wider);
  t.q = attn_thread_scratch(static_cast<size_t>(rows * row_floats + key_floats));
  t.out = t.q + rows * p.head_dim;
  t.weights = t.out + rows * t.out_width;
  t.k = t.weights + rows * kAttnKeyTile;
  t.v = t.k + kAttnKeyTile * p.head_dim;
  t.staging = t.v + kAttnKeyTile * t.out_width;
  t.levels = t.staging + kTransposeKeys * t.key_width;
  t.hole = t.levels + kTransposeKeys * wider;
  t.bias = t.hole + kAttnKeyTile;
  t.factors = t.bias + kAttnKeyTile;
  t.state = reinterpret_cast<RowState*>(t.factors + rows);
  t.seen = reinterpret_cast<SeenKeys*>(t.factors + 3 * rows);
  for (int64_t i = 0; i < t.count; ++i) t.seen[i] = seen_keys(p, t.sequence, t.position + i);
  std::fill_n(t.out, rows * t.out_width, 0.0f);
  std::fill_n(t.state, rows, RowState{});
  return t;
}

template <class Source>
void LoadQueries(const AttnPrefillParams& p, const Source& source, const Tile& t) {
  for (int64_t i = 0; i < t.count; ++i) {
    for (int64_t g = 0; g < t.group; ++g) {
      const int64_t head = t.kv_head * t.group + g;
      const int64_t at = t.b * p.q_strides.batch + head * p.q_strides.head +
                         (t.sequence.q_begin + t.first + i) * p.q_strides.row;
      float* row = t.q + (i * t.group + g) * p.head_dim;
      load_f32(p.q_dtype, p.q, at, p.head_dim, row);
      source.rotate(row);
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

// Whether all of `count` floats are finite; count is a multiple of 2 * kPad.
inline bool AllFinite(const float* values, int64_t count) {
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

// Which rows of the cache lanes [first, first + kTransposeKeys) of a key tile are; -1 where there
// is no key, and then hole says so.
inline void FindRows(const Tile& t, KeyTile& tile, int64_t first, int64_t* rows) {
  int64_t slot = t.map.slot(tile.base + first);
  for (int64_t j = first; j < first + kTransposeKeys; ++j, slot = t.map.next(slot)) {
    const int64_t position = tile.base + j;
    const bool inside = position >= tile.begin && position < tile.end;
    const int64_t row = inside && slot < t.map.num_valid ? slot : -1;
    rows[j - first] = row >= 0 && t.k_rows.at(row) >= 0 ? row : -1;
    tile.has_holes |= inside && rows[j - first] < 0;
    t.hole[j] = rows[j - first] >= 0 ? 1.0f : 0.0f;
  }
}

// Loads a key tile, kTransposeKeys lanes at a time: source.keys and source.values write the rows of
// those slots as f32, zeros for -1.
template <class Source>
void LoadKeys(const AttnPrefillParams& p, const Source& source, const Tile& t, KeyTile& tile) {
  tile.has_holes = false;
  for (int64_t j = 0; j < kAttnKeyTile; j += kTransposeKeys) {
    int64_t slots[kTransposeKeys];
    FindRows(t, tile, j, slots);
    source.keys(t, slots, t.staging);
    TransposeKeys(t.staging, t.key_width, p.head_dim, t.k + j);
    source.values(t, slots, t.v + j * t.out_width);
  }
  tile.finite_values = AllFinite(t.v, kAttnKeyTile * t.out_width);
}

// Product of the weights with a value tile that holds infinities or NaN: keys of weight 0 are left
// out, since 0 times them is not 0. Otherwise the same chain of operations as Product.
inline void ProductOfVisible(const Tile& t, int64_t row_begin, int64_t row_end) {
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

// The class of a row's tile of the mask.
inline uint8_t MaskClass(const AttnPrefillParams& p, const Tile& t, const KeyTile& tile,
                         int64_t query, int64_t head) {
  if (p.mask.classes == nullptr) return kMaskMixed;
  const int64_t plane = t.b * p.mask.batch + head * p.mask.head;
  const int64_t q_tiles = base::ceil_div(p.mask.rows, kMaskQTile);
  const int64_t k_tiles = base::ceil_div(p.mask.columns, kMaskKTile);
  return p.mask.classes[(plane * q_tiles + query / kMaskQTile) * k_tiles + tile.base / kMaskKTile];
}

// What is added to the scores of query i of a head over lanes [lo, hi) of a key tile; null:
// nothing.
inline const float* RowBias(const AttnPrefillParams& p, const Tile& t, const KeyTile& tile,
                            int64_t i, int64_t head, int64_t lo, int64_t hi) {
  const int64_t query = t.first + i;
  const bool masked = p.mask.data != nullptr && MaskClass(p, t, tile, query, head) != kMaskFree;
  if (!masked && p.alibi_slopes == nullptr) return nullptr;
  if (masked) {
    const int64_t plane = t.b * p.mask.batch + head * p.mask.head;
    const int64_t at = (plane * p.mask.rows + query) * p.mask.columns + tile.base;
    LoadMask(p.mask, at + lo, hi - lo, t.bias + lo);
  } else {
    std::fill(t.bias + lo, t.bias + hi, 0.0f);
  }
  if (p.alibi_slopes != nullptr) {
    const float slope = p.alibi_slopes[head];
    const int64_t distance = tile.base - (t.position + i);
    for (int64_t j = lo; j < hi; ++j) t.bias[j] += slope * static_cast<float>(distance + j);
  }
  return t.bias;
}

// Whether query i of a head has anything to do in a key tile.
inline bool SeesTile(const AttnPrefillParams& p, const Tile& t, const KeyTile& tile, int64_t i,
                     int64_t head) {
  const SeenKeys& seen = t.seen[i];
  if (std::max(seen.lo, tile.begin) >= std::min(seen.hi, tile.end)) return false;
  return p.mask.data == nullptr || MaskClass(p, t, tile, t.first + i, head) != kMaskBlocked;
}

// Folds one key tile into the rows [begin, end) of the tile.
inline void FoldTile(const AttnPrefillParams& p, const Tile& t, const KeyTile& tile, int64_t begin,
                     int64_t end, RowsAhead& ahead) {
  const int64_t row = begin, rows = end - begin;
  Product<Store::kSet>(t.q + row * p.head_dim, p.head_dim, t.k, kAttnKeyTile, p.head_dim,
                       t.factors + row, t.weights + row * kAttnKeyTile, kAttnKeyTile, rows,
                       kAttnKeyTile, ahead);
  const ScoreRule rule{p.softmax_scale, p.logits_soft_cap};
  int64_t i = begin / t.group, g = begin % t.group;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t lo = std::max(t.seen[i].lo, tile.begin) - tile.base;
    const int64_t hi = std::min(t.seen[i].hi, tile.end) - tile.base;
    const TileVisible visible{lo, hi, tile.has_holes ? t.hole : nullptr,
                              RowBias(p, t, tile, i, t.kv_head * t.group + g, lo, hi)};
    t.factors[r] = SoftmaxTile(t.weights + r * kAttnKeyTile, visible, rule, t.state[r]);
    if (++g == t.group) g = 0, ++i;
  }
  if (!tile.finite_values) return ProductOfVisible(t, row, row + rows);
  Product<Store::kScaleAndAdd>(t.weights + row * kAttnKeyTile, kAttnKeyTile, t.v, t.out_width,
                               kAttnKeyTile, t.factors + row, t.out + row * t.out_width,
                               t.out_width, rows, t.out_width, ahead);
}

// Folds a key tile into the rows that see it, run by run. It is loaded if there are any.
template <class Source>
void FoldRuns(const AttnPrefillParams& p, const Source& source, const Tile& t, KeyTile& tile,
              RowsAhead& ahead) {
  bool loaded = false;
  int64_t begin = -1;
  const auto end_run = [&](int64_t row) {
    if (begin < 0) return;
    if (!loaded) LoadKeys(p, source, t, tile);
    loaded = true;
    FoldTile(p, t, tile, begin, row, ahead);
    begin = -1;
  };
  for (int64_t i = 0; i < t.count; ++i) {
    for (int64_t g = 0; g < t.group; ++g) {
      if (!SeesTile(p, t, tile, i, t.kv_head * t.group + g)) {
        end_run(i * t.group + g);
      } else if (begin < 0) {
        begin = i * t.group + g;
      }
    }
  }
  end_run(t.count * t.group);
}

// Slots of the key tile from position `base` on, up to where the ring wraps or a page ends.
inline int64_t SlotsAhead(const Tile& t, int64_t base, int64_t end) {
  if (base >= end) return 0;
  const int64_t slot = t.map.slot(base);
  return std::max<int64_t>(
      0, std::min({kAttnKeyTile, end - base, t.map.num_valid - slot, t.k_rows.left(slot)}));
}

template <class Source>
void StoreRows(const AttnPrefillParams& p, const Source& source, const Tile& t) {
  for (int64_t i = 0; i < t.count; ++i) {
    for (int64_t g = 0; g < t.group; ++g) {
      const int64_t row = i * t.group + g, head = t.kv_head * t.group + g;
      const int64_t query = t.sequence.q_begin + t.first + i;
      float* out = t.out + row * t.out_width;
      RowState state = t.state[row];
      const float factor = p.sinks == nullptr ? 1.0f : JoinSink(p.sinks[head], state);
      for (int64_t c = 0; c < p.v_dim; ++c) {
        out[c] = state.sum == 0.0f ? 0.0f : out[c] * factor / state.sum;
      }
      source.rotate_back(out);
      // Makes every zero positive: whether a tile without visible keys was skipped or folded can
      // only show in that sign.
      for (int64_t c = 0; c < p.v_dim; ++c) out[c] += 0.0f;
      const int64_t at =
          t.b * p.out_strides.batch + head * p.out_strides.head + query * p.out_strides.row;
      store_f32(p.q_dtype, out, p.v_dim, p.out, at);
      if (p.lse == nullptr) continue;
      const int64_t sequence = p.q_starts != nullptr ? 0 : t.b;
      p.lse[(sequence * p.num_heads + head) * p.q_len + query] = LogSumExp(state);
    }
  }
}

// One task. The source knows how K and V are stored.
template <class Source>
void PrefillTile(const AttnPrefillParams& p, const Source& source, int64_t b, int64_t kv_head,
                 int64_t query_tile) {
  const Tile t = MakeTile(p, b, kv_head, query_tile);
  LoadQueries(p, source, t);
  const int64_t key_begin = t.seen[0].lo, key_end = t.seen[t.count - 1].hi;
  for (int64_t base = key_begin / kAttnKeyTile * kAttnKeyTile; base < key_end;
       base += kAttnKeyTile) {
    KeyTile tile{base, std::max(base, t.map.first), std::min(base + kAttnKeyTile, t.map.end), false,
                 true};
    RowsAhead ahead = source.ahead(t, base + kAttnKeyTile, key_end);
    FoldRuns(p, source, t, tile, ahead);
  }
  StoreRows(p, source, t);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
