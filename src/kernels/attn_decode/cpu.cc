// SPDX-License-Identifier: Apache-2.0
// attn_decode with SIMD. One task works on one part of the keys of one KV head for all query heads
// of that KV head, so that each key and value row is read from memory once. A second dispatch
// merges the parts in index order.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_decode/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "kernels/attn_decode/cpu.h"
#include "kernels/attn_decode/partials.h"
#include "kernels/attn_decode/splits.h"
#include "kernels/attn_decode/tiles-inl.h"
#include "kernels/common/attn_softmax-inl.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"

#ifndef MLXN_KERNELS_ATTN_DECODE_SPLIT_
#define MLXN_KERNELS_ATTN_DECODE_SPLIT_
namespace mlxn::kernels {

// Rows of `dim` elements of one KV head.
inline CacheRows rows_of(const AttnDecodeParams& p, int64_t b, int64_t kv_head, int64_t dim) {
  const int64_t slots = p.pages.table != nullptr ? p.pages.page_size : p.capacity;
  return cache_rows(p.pages, b, kv_head, p.num_kv_heads * slots * dim, slots * dim, dim);
}

}  // namespace mlxn::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Keys that are worked on together: pointers to their rows.
template <class T>
struct Block {
  const T* keys[kAttnKeyTile];
  const T* values[kAttnKeyTile];
  float distances[kAttnKeyTile];  // position less the query's, for ALiBi
  int64_t count;

  // Rows of a block follow one another in memory but for a ring's end.
  Ahead ahead_of_keys(int64_t dim) const { return ahead_of(keys, dim); }
  Ahead ahead_of_values(int64_t dim) const { return ahead_of(values, dim); }

 private:
  Ahead ahead_of(const T* const* rows, int64_t dim) const {
    return count == 0 ? Ahead() : Ahead(rows[0], static_cast<size_t>(count * dim) * sizeof(T));
  }
};

// Writes values / sum as the output of a head, 0 if nothing was visible.
void WriteHead(const AttnDecodeParams& p, int64_t b, int64_t head, float* values, RowState state) {
  const float factor = p.sinks == nullptr ? 1.0f : JoinSink(p.sinks[head], state);
  for (int64_t c = 0; c < p.v_dim; ++c) {
    values[c] = state.sum == 0.0f ? 0.0f : values[c] * factor / state.sum;
  }
  store_f32(p.q_dtype, values, p.v_dim, p.out, (b * p.num_heads + head) * p.v_dim);
  if (p.lse != nullptr) p.lse[b * p.num_heads + head] = LogSumExp(state);
}

// The heads [first, first + count) of a group.
struct HeadTile {
  int64_t first;
  int64_t count;
};

// The working set of one task, all in thread scratch.
struct SplitWork {
  float* q;         // per head tile [q_stride / lanes, heads, lanes]
  float* out;       // [group, out_stride], in scratch or where the part leaves its values
  float* scores;    // [group, kAttnKeyTile]
  float* factors;   // [group]
  RowState* state;  // [group]
  float* row;       // [q_stride]
  int64_t first_head;
  int64_t group;
  int64_t tiles;
  int64_t q_stride;
  int64_t out_stride;

  // Tiles of a group differ by one head at most.
  HeadTile tile(int64_t i) const {
    const int64_t each = group / tiles, longer = group % tiles;
    return {i * each + std::min(i, longer), each + (i < longer ? 1 : 0)};
  }
};

// `out` null: the values are accumulated in scratch too.
SplitWork MakeWork(const AttnDecodeParams& p, float* out, int64_t out_stride) {
  SplitWork w;
  w.first_head = 0;
  w.group = p.num_heads / p.num_kv_heads;
  w.tiles = base::ceil_div(w.group, int64_t{kHeadTile});
  w.q_stride = base::round_up(p.head_dim, kAttnDecodePad);
  const int64_t width = base::round_up(p.v_dim, kAttnDecodePad);
  const int64_t numbers = base::round_up(w.group, kAttnDecodePad);
  const int64_t floats = w.group * (w.q_stride + kAttnKeyTile) + numbers * (1 + 2) + w.q_stride +
                         (out == nullptr ? w.group * width : 0);
  static_assert(sizeof(RowState) == 2 * sizeof(float));
  w.q = attn_thread_scratch(static_cast<size_t>(floats));
  w.scores = w.q + w.group * w.q_stride;
  w.factors = w.scores + w.group * kAttnKeyTile;
  w.state = reinterpret_cast<RowState*>(w.factors + numbers);
  w.row = w.factors + 3 * numbers;
  w.out = out == nullptr ? w.row + w.q_stride : out;
  w.out_stride = out == nullptr ? width : out_stride;
  for (int64_t g = 0; g < w.group; ++g) std::fill_n(w.out + g * w.out_stride, width, 0.0f);
  std::fill_n(w.state, w.group, RowState{});
  return w;
}

// Query heads first_head .. first_head + group - 1 of sequence b.
void LoadQueries(const AttnDecodeParams& p, int64_t b, int64_t first_head, SplitWork& w) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  std::fill(w.row + p.head_dim, w.row + w.q_stride, 0.0f);
  for (int64_t i = 0; i < w.tiles; ++i) {
    const HeadTile tile = w.tile(i);
    for (int64_t h = 0; h < tile.count; ++h) {
      const int64_t head = b * p.num_heads + first_head + tile.first + h;
      load_f32(p.q_dtype, p.q, head * p.head_dim, p.head_dim, w.row);
      float* target = w.q + tile.first * w.q_stride + h * lanes;
      for (int64_t c = 0; c < w.q_stride; c += lanes, target += tile.count * lanes) {
        hn::Store(hn::Load(d, w.row + c), d, target);
      }
    }
  }
}

// Folds a block into all heads. While it forms dot products the block's values are asked for, while
// it sums values the keys of the next block.
template <class T>
void FoldBlock(const AttnDecodeParams& p, SplitWork& w, const Block<T>& block,
               const Block<T>& next) {
  Ahead ahead = block.ahead_of_values(p.v_dim);
  for (int64_t i = 0; i < w.tiles; ++i) {
    const HeadTile tile = w.tile(i);
    kTileFns<T>.dot[tile.count - 1](w.q + tile.first * w.q_stride, block.keys, block.count,
                                    p.head_dim, ahead, w.scores + tile.first * kAttnKeyTile);
  }
  const ScoreRule rule{p.softmax_scale, p.logits_soft_cap};
  float bias[kAttnKeyTile];
  for (int64_t g = 0; g < w.group; ++g) {
    if (p.alibi_slopes != nullptr) {
      const float slope = p.alibi_slopes[w.first_head + g];
      for (int64_t j = 0; j < kAttnKeyTile; ++j) bias[j] = slope * block.distances[j];
    }
    const TileVisible visible{0, block.count, nullptr, p.alibi_slopes != nullptr ? bias : nullptr};
    w.factors[g] = SoftmaxTile(w.scores + g * kAttnKeyTile, visible, rule, w.state[g]);
  }
  ahead = next.ahead_of_keys(p.head_dim);
  for (int64_t i = 0; i < w.tiles; ++i) {
    const HeadTile tile = w.tile(i);
    kTileFns<T>.value[tile.count - 1](w.scores + tile.first * kAttnKeyTile, w.factors + tile.first,
                                      block.values, block.count, p.v_dim, ahead,
                                      w.out + tile.first * w.out_stride, w.out_stride);
  }
}

// Walks the slots of the positions [position, end) of one KV head.
template <class T>
struct KeyWalk {
  const AttnDecodeParams& p;
  const KeyMap& map;
  CacheRows k_rows;
  CacheRows v_rows;
  int64_t position;
  int64_t end;
  int64_t slot;

  // The next keys, at most kAttnKeyTile; none at the end. The last row is repeated up to a multiple
  // of four.
  void next(Block<T>& block) {
    block.count = 0;
    while (position < end && block.count < kAttnKeyTile) {
      // Slots that follow one another: up to where the ring wraps, or a page ends.
      const int64_t run = std::min(
          {end - position, kAttnKeyTile - block.count, map.capacity - slot, k_rows.left(slot)});
      const int64_t key = slot < map.num_valid ? k_rows.at(slot) : -1;
      if (key >= 0) add(block, key, v_rows.at(slot), std::min(run, map.num_valid - slot));
      position += run;
      slot = slot + run == map.capacity ? 0 : slot + run;
    }
    for (int64_t j = block.count; j % 4 != 0; ++j) block.keys[j] = block.keys[block.count - 1];
  }

 private:
  void add(Block<T>& block, int64_t key, int64_t value, int64_t count) {
    const T* k = static_cast<const T*>(p.k) + key;
    const T* v = static_cast<const T*>(p.v) + value;
    const int64_t distance = position - (map.end - 1);
    for (int64_t j = 0; j < count; ++j) {
      block.keys[block.count + j] = k + j * k_rows.row;
      block.values[block.count + j] = v + j * v_rows.row;
    }
    for (int64_t j = 0; p.alibi_slopes != nullptr && j < count; ++j) {
      block.distances[block.count + j] = static_cast<float>(distance + j);
    }
    block.count += count;
  }
};

template <class T>
void SplitOf(const AttnDecodeParams& p, const AttnDecodePartials& partials, int64_t b,
             int64_t kv_head, int64_t split) {
  const KeyMap map = key_map(p, b);
  const VisibleKeys visible = visible_keys(map, p.window_size, p.chunk_size);
  const int64_t keys_each = split_keys(visible.count(), p.n_split);
  const int64_t begin = visible.first + split * keys_each;
  const int64_t end = std::min(visible.end, begin + keys_each);
  if (begin >= end && partials.data != nullptr) return;

  const int64_t first_head = kv_head * (p.num_heads / p.num_kv_heads);
  float* out = partials.data == nullptr ? nullptr : partials.at(p, b, first_head, split);
  SplitWork w = MakeWork(p, out, partials.splits * partials.stride);
  w.first_head = first_head;
  LoadQueries(p, b, first_head, w);
  const CacheRows k_rows = rows_of(p, b, kv_head, p.head_dim);
  const CacheRows v_rows = rows_of(p, b, kv_head, p.v_dim);
  KeyWalk<T> walk{p, map, k_rows, v_rows, begin, end, map.slot(begin)};
  Block<T> blocks[2] = {};
  walk.next(blocks[0]);
  for (int64_t i = 0; blocks[i % 2].count > 0; ++i) {
    walk.next(blocks[(i + 1) % 2]);
    FoldBlock(p, w, blocks[i % 2], blocks[(i + 1) % 2]);
  }

  for (int64_t g = 0; g < w.group; ++g) {
    float* values = w.out + g * w.out_stride;
    if (partials.data == nullptr) {
      WriteHead(p, b, first_head + g, values, w.state[g]);
      continue;
    }
    values[partials.width] = w.state[g].max;
    values[partials.width + 1] = w.state[g].sum;
  }
}

void AttnDecodeSplit(const AttnDecodeParams& p, const AttnDecodePartials& partials, int64_t b,
                     int64_t kv_head, int64_t split) {
  switch (p.kv_dtype) {
    case DType::kF16:
      return SplitOf<F16>(p, partials, b, kv_head, split);
    case DType::kBF16:
      return SplitOf<BF16>(p, partials, b, kv_head, split);
    default:
      return SplitOf<float>(p, partials, b, kv_head, split);
  }
}

// out = sum_s exp(max_s - max) values_s / sum_s exp(max_s - max) sum_s; 0 if nothing was visible.
void AttnDecodeMerge(const AttnDecodeParams& p, const AttnDecodePartials& partials, int64_t b,
                     int64_t head) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), width = partials.width;
  const int64_t visible = visible_keys(key_map(p, b), p.window_size, p.chunk_size).count();
  const int64_t live = base::ceil_div(visible, split_keys(visible, p.n_split));
  float max = kAttnFloor;
  for (int64_t s = 0; s < live; ++s) max = std::max(max, partials.at(p, b, head, s)[width]);
  float* out = attn_thread_scratch(static_cast<size_t>(width));
  std::fill_n(out, width, -0.0f);  // the neutral element of addition
  float sum = 0.0f;
  for (int64_t s = 0; s < live; ++s) {
    const float* partial = partials.at(p, b, head, s);
    const auto factor = Exp(d, hn::Set(d, partial[width] - max));
    sum += hn::GetLane(factor) * partial[width + 1];
    for (int64_t c = 0; c < width; c += lanes) {
      hn::Store(hn::MulAdd(factor, hn::Load(d, partial + c), hn::Load(d, out + c)), d, out + c);
    }
  }
  WriteHead(p, b, head, out, {max, sum});
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnDecodeSplit);
HWY_EXPORT(AttnDecodeMerge);

namespace {

void launch(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access, Isa isa,
            const char* name) {
  const auto split_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeSplit), isa);
  const auto merge_fn = variant(HWY_DISPATCH_TABLE(AttnDecodeMerge), isa);
  auto& cpu = backends::cpu::cpu_stream(stream);
  const int64_t rows = p.batch * p.num_heads, splits = max_splits(p);
  const auto split = [&](backends::Access split_access, const AttnDecodePartials& partials) {
    cpu.dispatch("attn_decode", name, std::move(split_access), p.batch * p.num_kv_heads * splits,
                 [p, partials, split_fn](uint32_t task) {
                   const int64_t row = task / partials.splits;
                   split_fn(p, partials, row / p.num_kv_heads, row % p.num_kv_heads,
                            task % partials.splits);
                 });
  };
  if (splits == 1) return split(std::move(access), {nullptr, 1, 0, 0});

  const int64_t width = base::round_up(p.v_dim, kAttnDecodePad), stride = width + kAttnDecodePad;
  const Buffer scratch =
      stream.scratch(static_cast<size_t>(rows * splits * stride) * sizeof(float));
  const AttnDecodePartials partials{reinterpret_cast<float*>(scratch.data()), splits, width,
                                    stride};
  backends::Access split_access = access;
  split_access.writes.clear();
  split_access.write(scratch);
  split(std::move(split_access), partials);
  access.read(scratch);
  cpu.dispatch("attn_decode_merge", name, std::move(access), rows,
               [p, partials, merge_fn](uint32_t task) {
                 merge_fn(p, partials, task / p.num_heads, task % p.num_heads);
               });
}

}  // namespace

void attn_decode_avx512(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx512, "avx512");
}
void attn_decode_avx2(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kAvx2, "avx2");
}
void attn_decode_baseline(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access) {
  launch(stream, p, std::move(access), Isa::kBaseline, "baseline");
}

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
