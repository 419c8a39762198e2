// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq with SIMD. As in attn_decode a task takes one part of the keys of one KV head for
// all of its query heads, and a second dispatch merges the parts. Queries are rotated when a task
// loads them, outputs when they are written. A few rows of codes at a time become levels in the
// first-level cache, in f16 where the codebook is exact in it; norms go to the scores and weights.
// With VNNI, VBMI and GFNI codes take the ways of codes_avx512.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_decode_tq/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/attn_decode/partials.h"
#include "kernels/attn_decode/splits.h"
#include "kernels/attn_decode/tiles-inl.h"
#include "kernels/attn_decode_tq/codes_avx512.h"
#include "kernels/attn_decode_tq/cpu.h"
#include "kernels/common/attn_softmax-inl.h"
#include "kernels/common/float_io.h"
#include "kernels/common/fwht-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/tq_levels-inl.h"

#ifndef MLXN_KERNELS_ATTN_DECODE_TQ_PARTS_
#define MLXN_KERNELS_ATTN_DECODE_TQ_PARTS_
namespace mlxn::kernels {

// Rows that become levels at a time: 32 rows of 256 f16 are 16 KiB.
inline constexpr int64_t kTqRows = 32;

// Keys that are worked on together.
struct TqBlock {
  const uint8_t* keys[kAttnKeyTile];    // codes
  const uint8_t* values[kAttnKeyTile];  // codes
  float key_factors[2][kAttnKeyTile];   // per norm of a row
  float value_factors[2][kAttnKeyTile];
  float distances[kAttnKeyTile];  // position less the query's, for ALiBi
  int64_t count;
};

// What a norm is multiplied by to give the factor of its levels; these may be f16, in units.
inline float tq_factor_of_norm(const TqCache& cache, bool half) {
  return quant::tq_norm_factor(half ? cache.table.half_unit : 1.0f, cache.dim,
                               cache.table.scale_factor);
}

// Which ways of codes_avx512.h a call takes; all need levels in f16.
struct TqWays {
  bool key_ints = false;
  bool key_levels = false;
  bool values = false;
};

inline TqWays tq_ways(const AttnDecodeTqParams& p, Isa isa) {
  const quant::TqTable &k = p.k.table, &v = p.v.table;
  if (isa != Isa::kAvx512Vnni || !k.has_half || !v.has_half) return {};
  return {tq_avx512::has_digits(k) && p.k.dim >= 64,  // spread keys fit the room for levels
          tq_avx512::has_level_bytes(k) && p.k.dim % 64 == 0,
          tq_avx512::has_digits(v) ? p.v.dim % 128 == 0
                                   : tq_avx512::has_level_bytes(v) && p.v.dim % 32 == 0};
}

// Walks the slots of the positions [position, end) of one KV head.
struct TqKeyWalk {
  const AttnDecodeTqParams& p;
  const KeyMap& map;
  CacheRows rows;
  int64_t position;
  int64_t end;
  int64_t slot;
  float of_key_norm;
  float of_value_norm;

  // The next keys, at most kAttnKeyTile; none at the end.
  void next(TqBlock& block) {
    block.count = 0;
    while (position < end && block.count < kAttnKeyTile) {
      const int64_t run = std::min(
          {end - position, kAttnKeyTile - block.count, map.capacity - slot, rows.left(slot)});
      const int64_t held = std::min(run, map.num_valid - slot);
      const int64_t row = held > 0 ? rows.at(slot) : -1;
      if (row >= 0) add(block, row, held);
      position += run;
      slot = slot + run == map.capacity ? 0 : slot + run;
    }
  }

 private:
  // `count` rows from `row` on.
  void add(TqBlock& block, int64_t row, int64_t count) const {
    const int64_t first = block.count;
    for (int64_t i = 0; i < count; ++i) {
      block.keys[first + i] = p.k.codes + (row + i) * p.k.row_bytes;
      block.values[first + i] = p.v.codes + (row + i) * p.v.row_bytes;
    }
    for (int64_t i = 0; i < count && p.attn.alibi_slopes != nullptr; ++i) {
      block.distances[first + i] = static_cast<float>(position + i - (map.end - 1));
    }
    add_factors(p.k, row, count, of_key_norm, first, block.key_factors);
    add_factors(p.v, row, count, of_value_norm, first, block.value_factors);
    block.count += count;
  }
  static void add_factors(const TqCache& cache, int64_t row, int64_t count, float of_norm,
                          int64_t first, float (*factors)[kAttnKeyTile]) {
    const float* const norms = cache.norms + row * cache.norm_count;
    // Those of the block after this one probably follow.
    Ahead(norms + count * cache.norm_count,
          static_cast<size_t>(count * cache.norm_count) * sizeof(float))
        .ask<512, 3>();
    if (cache.norm_count == 1) {  // by vectors
      for (int64_t i = 0; i < count; ++i) factors[0][first + i] = norms[i] * of_norm;
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      factors[0][first + i] = norms[2 * i] * of_norm;
      factors[1][first + i] = norms[2 * i + 1] * of_norm;
    }
  }
};

}  // namespace mlxn::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The output of a head from values [padded v_dim] and their sum, +0 if nothing was visible.
void WriteTqHead(const AttnDecodeTqParams& p, int64_t b, int64_t head, float* values,
                 RowState state) {
  const AttnDecodeParams& a = p.attn;
  const float factor = a.sinks == nullptr ? 1.0f : JoinSink(a.sinks[head], state);
  if (state.sum == 0.0f) {
    std::fill_n(values, a.v_dim, 0.0f);
  } else {
    for (int64_t c = 0; c < a.v_dim; ++c) values[c] = values[c] * factor / state.sum;
    if (!p.rotated) RotateRowBack(p.v.table.signs.data(), values, a.v_dim);
  }
  store_f32(a.q_dtype, values, a.v_dim, a.out, (b * a.num_heads + head) * a.v_dim);
  if (a.lse != nullptr) a.lse[b * a.num_heads + head] = LogSumExp(state);
}

// The heads [first, first + count) of a group.
struct TqHeadTile {
  int64_t first;
  int64_t count;
};

// The working set of one task, all in thread scratch.
struct TqWork {
  float* q;                   // per head tile [q_stride / lanes, heads, lanes]
  float* out;                 // [group, out_stride], in scratch or where the part leaves its values
  float* scores[2];           // [group, kAttnKeyTile], per norm of a row; weights later
  float* factors;             // [group]
  float* ones;                // [group]
  RowState* state;            // [group]
  float* row;                 // [q_stride]
  float* levels;              // [kTqRows, level_stride] in f32 or f16; or spread keys
  tq_avx512::HeadInts* ints;  // [group]
  TqWays ways;
  tq_avx512::LevelBytes key_levels;
  tq_avx512::LevelBytes value_levels;
  int64_t first_head;
  int64_t group;
  int64_t tiles;
  int64_t q_stride;
  int64_t out_stride;
  int64_t level_stride;

  // Tiles of a group differ by one head at most.
  TqHeadTile tile(int64_t i) const {
    const int64_t each = group / tiles, longer = group % tiles;
    return {i * each + std::min(i, longer), each + (i < longer ? 1 : 0)};
  }
};

// `out` null: the values are accumulated in scratch too.
TqWork MakeTqWork(const AttnDecodeParams& p, float* out, int64_t out_stride) {
  TqWork w;
  w.first_head = 0;
  w.group = p.num_heads / p.num_kv_heads;
  w.tiles = base::ceil_div(w.group, int64_t{kHeadTile});
  w.q_stride = base::round_up(p.head_dim, kAttnDecodePad);
  const int64_t width = base::round_up(p.v_dim, kAttnDecodePad);
  w.level_stride = std::max(w.q_stride, width);
  const int64_t numbers = base::round_up(w.group, kAttnDecodePad);
  static_assert(sizeof(RowState) == 2 * sizeof(float));
  const int64_t floats = w.group * (w.q_stride + 2 * kAttnKeyTile) + 4 * numbers + w.q_stride +
                         kTqRows * w.level_stride + 9 * numbers +
                         (out == nullptr ? w.group * width : 0);
  static_assert(sizeof(tq_avx512::HeadInts) == 9 * sizeof(float));
  w.q = attn_thread_scratch(static_cast<size_t>(floats));
  w.scores[0] = w.q + w.group * w.q_stride;
  w.scores[1] = w.scores[0] + w.group * kAttnKeyTile;
  w.factors = w.scores[1] + w.group * kAttnKeyTile;
  w.ones = w.factors + numbers;
  w.state = reinterpret_cast<RowState*>(w.ones + numbers);
  w.row = w.ones + 3 * numbers;
  w.levels = w.row + w.q_stride;
  w.ints = reinterpret_cast<tq_avx512::HeadInts*>(w.levels + kTqRows * w.level_stride);
  w.out = out == nullptr ? w.levels + kTqRows * w.level_stride + 9 * numbers : out;
  w.out_stride = out == nullptr ? width : out_stride;
  for (int64_t g = 0; g < w.group; ++g) std::fill_n(w.out + g * w.out_stride, width, 0.0f);
  std::fill_n(w.ones, w.group, 1.0f);
  std::fill_n(w.state, w.group, RowState{});
  return w;
}

// Digits take the place of floats.
int32_t* TileDigits(const TqWork& w, TqHeadTile tile) {
  return reinterpret_cast<int32_t*>(w.q + tile.first * w.q_stride);
}

// Rows of codes of one cache.
struct TqCodes {
  const TqCache& cache;
  const uint8_t* const* rows;
  int64_t count;

  Ahead ahead() const {
    return count == 0 ? Ahead() : Ahead(rows[0], static_cast<size_t>(count * cache.row_bytes));
  }
};

// Query heads first_head .. first_head + group - 1 of sequence b, rotated. Meanwhile what they meet
// first is asked for.
void LoadTqQueries(const AttnDecodeTqParams& p, int64_t b, int64_t first_head, Ahead ahead,
                   TqWork& w) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), dim = p.attn.head_dim;
  std::fill(w.row + dim, w.row + w.q_stride, 0.0f);
  for (int64_t i = 0; i < w.tiles; ++i) {
    const TqHeadTile tile = w.tile(i);
    for (int64_t h = 0; h < tile.count; ++h) {
      ahead.ask<2048, 3>();
      const int64_t head = b * p.attn.num_heads + first_head + tile.first + h;
      load_f32(p.attn.q_dtype, p.attn.q, head * dim, dim, w.row);
      if (!p.rotated) RotateRow(p.k.table.signs.data(), w.row, dim);
#if HWY_TARGET == HWY_AVX3
      if (w.ways.key_ints) {
        tq_avx512::make_ints(w.row, dim, p.k.norm_count, tile.count, TileDigits(w, tile) + 4 * h,
                             w.ints[tile.first + h]);
        continue;
      }
#endif
      float* target = w.q + tile.first * w.q_stride + h * lanes;
      for (int64_t c = 0; c < w.q_stride; c += lanes, target += tile.count * lanes) {
        hn::Store(hn::Load(d, w.row + c), d, target);
      }
    }
  }
}

// Calls use(rows, first, count, norm, ahead) with the levels of rows [first, first + count) of
// `codes`, row pointers repeated up to a multiple of four. `then` are worked on next.
template <class T, class Use>
HWY_INLINE void ForEachLevels(const TqCodes& codes, const TqCodes& then, TqWork& w, Use use) {
  const TqCache& cache = codes.cache;
  const T* rows[kTqRows];
  Ahead ahead = then.ahead();
  for (int64_t first = 0; first < codes.count; first += kTqRows) {
    const int64_t n = std::min(kTqRows, codes.count - first);
    T* const levels = reinterpret_cast<T*>(w.levels);
    TqLevels(cache.table, codes.rows + first, n, cache.dim, levels, w.level_stride);
    for (int64_t j = 0; j < kTqRows; ++j) rows[j] = levels + std::min(j, n - 1) * w.level_stride;
    for (int64_t b = 0; b < cache.norm_count; ++b) {
      use(rows, first, n, b, ahead);
      for (const T*& row : rows) row += cache.dim / cache.norm_count;
    }
  }
}

// a [group, kAttnKeyTile] = a * x, or a * x + b * y.
HWY_INLINE void ScaleKeys(const TqWork& w, float* a, const float* x, const float* b,
                          const float* y) {
  const hn::ScalableTag<float> d;
  for (int64_t i = 0; i < w.group * kAttnKeyTile; i += static_cast<int64_t>(hn::Lanes(d))) {
    const int64_t j = i % kAttnKeyTile;
    auto v = hn::Mul(hn::Load(d, a + i), hn::LoadU(d, x + j));
    if (b != nullptr) v = hn::MulAdd(hn::Load(d, b + i), hn::LoadU(d, y + j), v);
    hn::Store(v, d, a + i);
  }
}

// w.scores[b]: dot products with the levels under norm b.
template <class T>
void DotTqKeys(const AttnDecodeTqParams& p, TqWork& w, const TqBlock& block) {
  const int64_t width = p.k.dim / p.k.norm_count;
  const TqCodes values{p.v, block.values, block.count};
#if HWY_TARGET == HWY_AVX3
  if (w.ways.key_ints) {
    Ahead ahead = values.ahead();
    uint8_t* const keys = reinterpret_cast<uint8_t*>(w.levels);
    // A few at a time, which stay in the first-level cache.
    for (int64_t first = 0; first < block.count; first += kTqRows) {
      const int64_t count = std::min(kTqRows, block.count - first);
      tq_avx512::spread_keys(p.k.table, block.keys + first, count, p.k.dim, keys);
      for (int64_t b = 0; b < p.k.norm_count; ++b) {
        for (int64_t i = 0; i < w.tiles; ++i) {
          const TqHeadTile tile = w.tile(i);
          tq_avx512::dot_keys(tile.count, TileDigits(w, tile) + b * width * tile.count,
                              w.ints + tile.first, b, keys + b * width * 16,
                              tq_avx512::spread_bytes(p.k.dim), count, width, ahead,
                              w.scores[b] + tile.first * kAttnKeyTile + first);
        }
      }
    }
    return;
  }
  if (w.ways.key_levels) {
    Ahead ahead = values.ahead();
    const uint8_t* rows[kAttnKeyTile];
    for (int64_t b = 0; b < p.k.norm_count; ++b) {
      const int64_t skipped = b * p.k.row_bytes / p.k.norm_count;
      for (int64_t j = 0; j < block.count; ++j) rows[j] = block.keys[j] + skipped;
      for (int64_t i = 0; i < w.tiles; ++i) {
        const TqHeadTile tile = w.tile(i);
        tq_avx512::dot_levels(tile.count, w.key_levels,
                              w.q + tile.first * w.q_stride + b * width * tile.count, rows,
                              block.count, width, ahead, w.scores[b] + tile.first * kAttnKeyTile);
      }
    }
    return;
  }
#endif
  ForEachLevels<T>(
      {p.k, block.keys, block.count}, values, w,
      [&](const T* const* rows, int64_t first, int64_t count, int64_t b, Ahead& ahead) {
        for (int64_t i = 0; i < w.tiles; ++i) {
          const TqHeadTile tile = w.tile(i);
          kTileFns<T>.dot[tile.count - 1](w.q + tile.first * w.q_stride + b * width * tile.count,
                                          rows, count, width, ahead,
                                          w.scores[b] + tile.first * kAttnKeyTile + first);
        }
      });
}

// w.out = w.out * w.factors + the sum of w.scores[b] times the levels under norm b.
template <class T>
void AddTqValues(const AttnDecodeTqParams& p, TqWork& w, const TqBlock& block,
                 const TqBlock& next) {
  const int64_t width = p.v.dim / p.v.norm_count;
  const TqCodes keys{p.k, next.keys, next.count};
#if HWY_TARGET == HWY_AVX3
  if (w.ways.values) {
    Ahead ahead = keys.ahead();
    const uint8_t* rows[kAttnKeyTile];
    for (int64_t b = 0; b < p.v.norm_count; ++b) {
      const int64_t skipped = b * p.v.row_bytes / p.v.norm_count;
      for (int64_t j = 0; j < block.count; ++j) rows[j] = block.values[j] + skipped;
      for (int64_t i = 0; i < w.tiles; ++i) {
        const TqHeadTile tile = w.tile(i);
        tq_avx512::add_values(tile.count, p.v.table, w.value_levels,
                              w.scores[b] + tile.first * kAttnKeyTile, w.factors + tile.first, rows,
                              block.count, width, ahead,
                              w.out + tile.first * w.out_stride + b * width, w.out_stride);
      }
    }
    return;
  }
#endif
  ForEachLevels<T>(
      {p.v, block.values, block.count}, keys, w,
      [&](const T* const* rows, int64_t first, int64_t count, int64_t b, Ahead& ahead) {
        for (int64_t i = 0; i < w.tiles; ++i) {
          const TqHeadTile tile = w.tile(i);
          kTileFns<T>.value[tile.count - 1](
              w.scores[b] + tile.first * kAttnKeyTile + first,
              (first == 0 ? w.factors : w.ones) + tile.first, rows, count, width, ahead,
              w.out + tile.first * w.out_stride + b * width, w.out_stride);
        }
      });
}

// w.scores[0]: scores in, weights out, w.scores[1] in between. Each step is taken by all heads,
// whose chains of dependent instructions then run side by side.
void WeighTqKeys(const AttnDecodeParams& p, TqWork& w, const TqBlock& block) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const ScoreRule rule{p.softmax_scale, p.logits_soft_cap};
  float bias[kAttnKeyTile];
  for (int64_t g = 0; g < w.group; ++g) {
    for (int64_t j = 0; p.alibi_slopes != nullptr && j < kAttnKeyTile; ++j) {
      bias[j] = p.alibi_slopes[w.first_head + g] * block.distances[j];
    }
    const TileVisible visible{0, block.count, nullptr, p.alibi_slopes != nullptr ? bias : nullptr};
    hn::Store(LogitTile(w.scores[0] + g * kAttnKeyTile, visible, rule, w.state[g].max), d,
              w.scores[1] + g * lanes);
  }
  for (int64_t g = 0; g < w.group; ++g) {
    const float max = hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, w.scores[1] + g * lanes)));
    w.factors[g] = w.state[g].max - max;
    w.state[g].max = max;
  }
  for (int64_t g = 0; g < w.group; g += lanes) {
    hn::Store(Exp(d, hn::Load(d, w.factors + g)), d, w.factors + g);
  }
  for (int64_t g = 0; g < w.group; ++g) {
    hn::Store(WeightTile(w.scores[0] + g * kAttnKeyTile, w.state[g].max), d,
              w.scores[1] + g * lanes);
  }
  for (int64_t g = 0; g < w.group; ++g) {
    const float sum = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, w.scores[1] + g * lanes)));
    w.state[g].sum = w.state[g].sum * w.factors[g] + sum;
  }
}

// Folds a block into all heads. While it forms dot products the codes of its values are asked for,
// while it sums values the codes of the next block's keys.
template <class T>
void FoldTqBlock(const AttnDecodeTqParams& p, TqWork& w, TqBlock& block, const TqBlock& next) {
  DotTqKeys<T>(p, w, block);
  const bool two_key_norms = p.k.norm_count == 2;
  ScaleKeys(w, w.scores[0], block.key_factors[0], two_key_norms ? w.scores[1] : nullptr,
            block.key_factors[1]);
  WeighTqKeys(p.attn, w, block);
  if (p.v.norm_count == 2) {
    std::copy_n(w.scores[0], w.group * kAttnKeyTile, w.scores[1]);
    ScaleKeys(w, w.scores[1], block.value_factors[1], nullptr, nullptr);
  }
  ScaleKeys(w, w.scores[0], block.value_factors[0], nullptr, nullptr);
  if (block.count % 2 == 1) {  // two keys are worked on together; the factor may be NaN
    for (int64_t g = 0; g < 2 * w.group; ++g) w.scores[0][g * kAttnKeyTile + block.count] = 0.0f;
  }
  AddTqValues<T>(p, w, block, next);
}

void AttnDecodeTqSplit(const AttnDecodeTqParams& p, TqWays ways, const AttnDecodePartials& partials,
                       int64_t b, int64_t kv_head, int64_t split) {
  const AttnDecodeParams& a = p.attn;
  const KeyMap map = key_map(a, b);
  const VisibleKeys visible = visible_keys(map, a.window_size, a.chunk_size);
  const int64_t keys_each = split_keys(visible.count(), a.n_split);
  const int64_t begin = visible.first + split * keys_each;
  const int64_t end = std::min(visible.end, begin + keys_each);
  if (begin >= end && partials.data != nullptr) return;

  const int64_t first_head = kv_head * (a.num_heads / a.num_kv_heads);
  float* out = partials.data == nullptr ? nullptr : partials.at(a, b, first_head, split);
  TqWork w = MakeTqWork(a, out, partials.splits * partials.stride);
  w.first_head = first_head;
  w.ways = ways;
  const bool half = p.k.table.has_half && p.v.table.has_half;
  TqKeyWalk walk{p,
                 map,
                 tq_rows(p.k, a.pages, b, kv_head, a.num_kv_heads),
                 begin,
                 end,
                 map.slot(begin),
                 tq_factor_of_norm(p.k, half),
                 tq_factor_of_norm(p.v, half)};
  // Factors of lanes without a key are multiplied too, and their products dropped.
  TqBlock blocks[2] = {};
  const auto fold = half ? FoldTqBlock<F16> : FoldTqBlock<float>;
  walk.next(blocks[0]);
  LoadTqQueries(p, b, first_head, TqCodes{p.k, blocks[0].keys, blocks[0].count}.ahead(), w);
#if HWY_TARGET == HWY_AVX3
  if (ways.key_levels) tq_avx512::make_level_bytes(p.k.table, w.key_levels);
  if (ways.values) tq_avx512::make_level_bytes(p.v.table, w.value_levels);
#endif
  for (int64_t i = 0; blocks[i % 2].count > 0; ++i) {
    walk.next(blocks[(i + 1) % 2]);
    fold(p, w, blocks[i % 2], blocks[(i + 1) % 2]);
  }

  for (int64_t g = 0; g < w.group; ++g) {
    float* values = w.out + g * w.out_stride;
    if (partials.data == nullptr) {
      WriteTqHead(p, b, first_head + g, values, w.state[g]);
      continue;
    }
    values[partials.width] = w.state[g].max;
    values[partials.width + 1] = w.state[g].sum;
  }
}

// out = sum_s exp(max_s - max) values_s / sum_s exp(max_s - max) sum_s; 0 if nothing was visible.
void AttnDecodeTqMerge(const AttnDecodeTqParams& p, const AttnDecodePartials& partials, int64_t b,
                       int64_t head) {
  const hn::ScalableTag<float> d;
  const AttnDecodeParams& a = p.attn;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), width = partials.width;
  const int64_t visible = visible_keys(key_map(a, b), a.window_size, a.chunk_size).count();
  const int64_t live = base::ceil_div(visible, split_keys(visible, a.n_split));
  float max = kAttnFloor;
  for (int64_t s = 0; s < live; ++s) max = std::max(max, partials.at(a, b, head, s)[width]);
  float* out = attn_thread_scratch(static_cast<size_t>(width));
  std::fill_n(out, width, 0.0f);
  float sum = 0.0f;
  for (int64_t s = 0; s < live; ++s) {
    const float* partial = partials.at(a, b, head, s);
    const auto factor = Exp(d, hn::Set(d, partial[width] - max));
    sum += hn::GetLane(factor) * partial[width + 1];
    for (int64_t c = 0; c < width; c += lanes) {
      hn::Store(hn::MulAdd(factor, hn::Load(d, partial + c), hn::Load(d, out + c)), d, out + c);
    }
  }
  WriteTqHead(p, b, head, out, {max, sum});
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnDecodeTqSplit);
HWY_EXPORT(AttnDecodeTqMerge);

template <Isa isa>
void attn_decode_tq_cpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access) {
  const char* const name = isa == Isa::kAvx512Vnni ? "avx512_vnni"
                           : isa == Isa::kAvx512   ? "avx512"
                           : isa == Isa::kAvx2     ? "avx2"
                                                   : "baseline";
  const TqWays ways = tq_ways(p, isa);
  const auto split_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeTqSplit), isa);
  const auto merge_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeTqMerge), isa);
  auto& cpu = backends::cpu::cpu_stream(stream);
  const AttnDecodeParams& a = p.attn;
  const int64_t rows = a.batch * a.num_heads, splits = max_splits(a);
  const auto split = [&](backends::Access split_access, const AttnDecodePartials& partials) {
    cpu.dispatch("attn_decode_tq", name, std::move(split_access), a.batch * a.num_kv_heads * splits,
                 [p, ways, partials, split_fn](uint32_t task) {
                   const int64_t row = task / partials.splits;
                   split_fn(p, ways, partials, row / p.attn.num_kv_heads, row % p.attn.num_kv_heads,
                            task % partials.splits);
                 });
  };
  if (splits == 1) return split(std::move(access), {nullptr, 1, 0, 0});

  const int64_t width = base::round_up(a.v_dim, kAttnDecodePad), stride = width + kAttnDecodePad;
  const Buffer scratch =
      stream.scratch(static_cast<size_t>(rows * splits * stride) * sizeof(float));
  const AttnDecodePartials partials{reinterpret_cast<float*>(scratch.data()), splits, width,
                                    stride};
  backends::Access split_access = access.inputs();
  split_access.write(scratch);
  split(std::move(split_access), partials);
  access.read(scratch);
  cpu.dispatch("attn_decode_tq_merge", name, std::move(access), rows,
               [p, partials, merge_fn](uint32_t task) {
                 merge_fn(p, partials, task / p.attn.num_heads, task % p.attn.num_heads);
               });
}

std::optional<std::string_view> attn_decode_tq_vnni_leaves(const AttnDecodeTqParams&) {
#if defined(__x86_64__)
  if (tq_avx512::is_here()) return {};
#endif
  return "is for processors with AVX-512 VBMI and GFNI";
}

template void attn_decode_tq_cpu<Isa::kAvx512Vnni>(StreamImpl&, const AttnDecodeTqParams&,
                                                   backends::Access);
template void attn_decode_tq_cpu<Isa::kAvx512>(StreamImpl&, const AttnDecodeTqParams&,
                                               backends::Access);
template void attn_decode_tq_cpu<Isa::kAvx2>(StreamImpl&, const AttnDecodeTqParams&,
                                             backends::Access);
template void attn_decode_tq_cpu<Isa::kBaseline>(StreamImpl&, const AttnDecodeTqParams&,
                                                 backends::Access);

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
