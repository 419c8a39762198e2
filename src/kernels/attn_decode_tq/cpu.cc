// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq with SIMD. As in attn_decode a task takes one part of the keys of one KV head for
// all of its query heads, and a second dispatch merges the parts. Queries are rotated when a task
// loads them, outputs when they are written. A few rows of codes at a time become levels in the
// first-level cache, in f16 where the codebook is exact in it; norms go to the scores and weights.
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
    for (; position < end && block.count < kAttnKeyTile; ++position, slot = map.next(slot)) {
      const int64_t row = slot < map.num_valid ? rows.at(slot) : -1;
      if (row < 0) continue;
      const int64_t j = block.count++;
      block.distances[j] = static_cast<float>(position - (map.end - 1));
      block.keys[j] = p.k.codes + row * p.k.row_bytes;
      block.values[j] = p.v.codes + row * p.v.row_bytes;
      for (int64_t b = 0; b < p.k.norm_count; ++b) {
        block.key_factors[b][j] = p.k.norms[row * p.k.norm_count + b] * of_key_norm;
      }
      for (int64_t b = 0; b < p.v.norm_count; ++b) {
        block.value_factors[b][j] = p.v.norms[row * p.v.norm_count + b] * of_value_norm;
      }
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
  float* q;          // per head tile [q_stride / lanes, heads, lanes]
  float* out;        // [group, out_stride], in scratch or where the part leaves its values
  float* scores[2];  // [group, kAttnKeyTile], per norm of a row; weights later
  float* factors;    // [group]
  float* ones;       // [group]
  RowState* state;   // [group]
  float* row;        // [q_stride]
  float* levels;     // [kTqRows, level_stride], f16 or f32
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
                         kTqRows * w.level_stride + (out == nullptr ? w.group * width : 0);
  w.q = attn_thread_scratch(static_cast<size_t>(floats));
  w.scores[0] = w.q + w.group * w.q_stride;
  w.scores[1] = w.scores[0] + w.group * kAttnKeyTile;
  w.factors = w.scores[1] + w.group * kAttnKeyTile;
  w.ones = w.factors + numbers;
  w.state = reinterpret_cast<RowState*>(w.ones + numbers);
  w.row = w.ones + 3 * numbers;
  w.levels = w.row + w.q_stride;
  w.out = out == nullptr ? w.levels + kTqRows * w.level_stride : out;
  w.out_stride = out == nullptr ? width : out_stride;
  for (int64_t g = 0; g < w.group; ++g) std::fill_n(w.out + g * w.out_stride, width, 0.0f);
  std::fill_n(w.ones, w.group, 1.0f);
  std::fill_n(w.state, w.group, RowState{});
  return w;
}

// Query heads first_head .. first_head + group - 1 of sequence b, rotated.
void LoadTqQueries(const AttnDecodeTqParams& p, int64_t b, int64_t first_head, TqWork& w) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), dim = p.attn.head_dim;
  std::fill(w.row + dim, w.row + w.q_stride, 0.0f);
  for (int64_t i = 0; i < w.tiles; ++i) {
    const TqHeadTile tile = w.tile(i);
    for (int64_t h = 0; h < tile.count; ++h) {
      const int64_t head = b * p.attn.num_heads + first_head + tile.first + h;
      load_f32(p.attn.q_dtype, p.attn.q, head * dim, dim, w.row);
      if (!p.rotated) RotateRow(p.k.table.signs.data(), w.row, dim);
      float* target = w.q + tile.first * w.q_stride + h * lanes;
      for (int64_t c = 0; c < w.q_stride; c += lanes, target += tile.count * lanes) {
        hn::Store(hn::Load(d, w.row + c), d, target);
      }
    }
  }
}

// Calls use(rows, first, count) with the levels of rows [first, first + count) of the block, row
// pointers repeated up to a multiple of four.
template <class T, class Use>
HWY_INLINE void ForEachLevels(const TqCache& cache, const uint8_t* const* codes, int64_t count,
                              const TqWork& w, Use use) {
  T* const levels = reinterpret_cast<T*>(w.levels);
  const T* rows[kTqRows];
  for (int64_t first = 0; first < count; first += kTqRows) {
    const int64_t n = std::min(kTqRows, count - first);
    TqLevels(cache.table, codes + first, n, cache.dim, levels, w.level_stride);
    for (int64_t j = 0; j < kTqRows; ++j) rows[j] = levels + std::min(j, n - 1) * w.level_stride;
    for (int64_t b = 0; b < cache.norm_count; ++b) {
      use(rows, first, n, b);
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

Ahead AheadOfCodes(const uint8_t* const* rows, int64_t count, int64_t row_bytes) {
  return count == 0 ? Ahead() : Ahead(rows[0], static_cast<size_t>(count * row_bytes));
}

// Folds a block into all heads. While it forms dot products the codes of its values are asked for,
// while it sums values the codes of the next block's keys.
template <class T>
void FoldTqBlock(const AttnDecodeTqParams& p, TqWork& w, TqBlock& block, const TqBlock& next) {
  const int64_t key_width = p.k.dim / p.k.norm_count, value_width = p.v.dim / p.v.norm_count;
  Ahead ahead = AheadOfCodes(block.values, block.count, p.v.row_bytes);
  ForEachLevels<T>(p.k, block.keys, block.count, w,
                   [&](const T* const* rows, int64_t first, int64_t count, int64_t b) {
                     for (int64_t i = 0; i < w.tiles; ++i) {
                       const TqHeadTile tile = w.tile(i);
                       kTileFns<T>.dot[tile.count - 1](
                           w.q + tile.first * w.q_stride + b * key_width * tile.count, rows, count,
                           key_width, ahead, w.scores[b] + tile.first * kAttnKeyTile + first);
                     }
                   });
  const bool two_key_norms = p.k.norm_count == 2;
  ScaleKeys(w, w.scores[0], block.key_factors[0], two_key_norms ? w.scores[1] : nullptr,
            block.key_factors[1]);
  const ScoreRule rule{p.attn.softmax_scale, p.attn.logits_soft_cap};
  float bias[kAttnKeyTile];
  const float* const slopes = p.attn.alibi_slopes;
  for (int64_t g = 0; g < w.group; ++g) {
    for (int64_t j = 0; slopes != nullptr && j < kAttnKeyTile; ++j) {
      bias[j] = slopes[w.first_head + g] * block.distances[j];
    }
    const TileVisible visible{0, block.count, nullptr, slopes != nullptr ? bias : nullptr};
    w.factors[g] = SoftmaxTile(w.scores[0] + g * kAttnKeyTile, visible, rule, w.state[g]);
  }
  if (p.v.norm_count == 2) {
    std::copy_n(w.scores[0], w.group * kAttnKeyTile, w.scores[1]);
    ScaleKeys(w, w.scores[1], block.value_factors[1], nullptr, nullptr);
  }
  ScaleKeys(w, w.scores[0], block.value_factors[0], nullptr, nullptr);
  ahead = AheadOfCodes(next.keys, next.count, p.k.row_bytes);
  ForEachLevels<T>(p.v, block.values, block.count, w,
                   [&](const T* const* rows, int64_t first, int64_t count, int64_t b) {
                     for (int64_t i = 0; i < w.tiles; ++i) {
                       const TqHeadTile tile = w.tile(i);
                       kTileFns<T>.value[tile.count - 1](
                           w.scores[b] + tile.first * kAttnKeyTile + first,
                           (first == 0 ? w.factors : w.ones) + tile.first, rows, count, value_width,
                           ahead, w.out + tile.first * w.out_stride + b * value_width,
                           w.out_stride);
                     }
                   });
}

void AttnDecodeTqSplit(const AttnDecodeTqParams& p, const AttnDecodePartials& partials, int64_t b,
                       int64_t kv_head, int64_t split) {
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
  LoadTqQueries(p, b, first_head, w);
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
  const char* const name = isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "baseline";
  const auto split_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeTqSplit), isa);
  const auto merge_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeTqMerge), isa);
  auto& cpu = backends::cpu::cpu_stream(stream);
  const AttnDecodeParams& a = p.attn;
  const int64_t rows = a.batch * a.num_heads, splits = max_splits(a);
  const auto split = [&](backends::Access split_access, const AttnDecodePartials& partials) {
    cpu.dispatch("attn_decode_tq", name, std::move(split_access),
                 static_cast<uint32_t>(a.batch * a.num_kv_heads * splits),
                 [p, partials, split_fn](uint32_t task) {
                   const int64_t row = task / partials.splits;
                   split_fn(p, partials, row / p.attn.num_kv_heads, row % p.attn.num_kv_heads,
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
  cpu.dispatch("attn_decode_tq_merge", name, std::move(access), static_cast<uint32_t>(rows),
               [p, partials, merge_fn](uint32_t task) {
                 merge_fn(p, partials, task / p.attn.num_heads, task % p.attn.num_heads);
               });
}

template void attn_decode_tq_cpu<Isa::kAvx512>(StreamImpl&, const AttnDecodeTqParams&,
                                               backends::Access);
template void attn_decode_tq_cpu<Isa::kAvx2>(StreamImpl&, const AttnDecodeTqParams&,
                                             backends::Access);
template void attn_decode_tq_cpu<Isa::kBaseline>(StreamImpl&, const AttnDecodeTqParams&,
                                                 backends::Access);

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
