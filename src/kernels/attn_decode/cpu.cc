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
#include "kernels/attn_decode/splits.h"
#include "kernels/common/attn_softmax-inl.h"
#include "kernels/common/float_io.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"

#ifndef MLXN_KERNELS_ATTN_DECODE_SPLIT_
#define MLXN_KERNELS_ATTN_DECODE_SPLIT_
namespace mlxn::kernels {

// What one part leaves for the merge: partial[0] is its maximum, [1] its sum, [2 ..) its values.
struct AttnDecodePartials {
  float* data;  // [batch, num_heads, splits, stride]; null: one part, which writes the output
  int64_t splits;
  int64_t stride;  // 2 + v_dim
  float* at(const AttnDecodeParams& p, int64_t b, int64_t head, int64_t split) const {
    return data + ((b * p.num_heads + head) * splits + split) * stride;
  }
};

inline KeyMap key_map(const AttnDecodeParams& p, int64_t b) {
  return make_key_map(p.kv_len[b], p.ring_start ? p.ring_start[b] : 0, p.ring, p.capacity);
}

}  // namespace mlxn::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows are padded to this many floats with zeros.
constexpr int64_t kPad = 16;

// Query heads whose dot products are formed together: with four keys they fill the registers.
constexpr int kDotHeads = HWY_MAX_BYTES > 32 ? 4 : 2;
// Vectors of a value row that are accumulated together, for up to four heads.
constexpr int kValueVectors = HWY_MAX_BYTES > 32 ? 4 : 2;

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

// Keys that are worked on together: pointers to their rows.
template <class T>
struct Block {
  const T* keys[kAttnKeyTile];
  const T* values[kAttnKeyTile];
  int64_t count;
};

// Rows that the next step reads. Asking for them while this step computes hides the latency of
// memory, for which a step would otherwise wait at its start.
template <class T>
struct Ahead {
  const T* const* rows;
  int64_t count;
  int64_t dim;
};

template <class T>
HWY_INLINE void PrefetchRow(const Ahead<T>& ahead, int64_t j) {
  if (j >= ahead.count) return;
  constexpr int64_t kLine = 64 / sizeof(T);
  // Into the second-level cache: a block of rows would push the one in use out of the first.
  for (int64_t c = 0; c < ahead.dim; c += kLine) __builtin_prefetch(ahead.rows[j] + c, 0, 1);
}

// scores[g * kAttnKeyTile + j] = <q_g, k_j> for kHeads heads and the keys below `count`, rounded up
// to a multiple of four; the rows beyond count repeat a valid one.
template <int kHeads, class T>
void DotBlock(const float* q, int64_t q_stride, const T* const* keys, int64_t count, int64_t dim,
              const Ahead<T>& ahead, float* scores) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t j = 0; j < count; j += 4) {
    for (int64_t i = 0; i < 4; ++i) PrefetchRow(ahead, j + i);
    V acc[kHeads][4];
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) acc[g][i] = hn::Zero(d);
    }
    for (int64_t c = 0; c < dim; c += lanes) {
      V k[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) k[i] = LoadRowPadded(d, keys[j + i], c, dim);
#pragma GCC unroll 4
      for (int g = 0; g < kHeads; ++g) {
        const V qv = hn::Load(d, q + g * q_stride + c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) acc[g][i] = hn::MulAdd(k[i], qv, acc[g][i]);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g) StoreSums(d, acc[g], scores + g * kAttnKeyTile + j);
  }
}

// Columns [at, at + kVectors * lanes) of out_g = out_g * factor_g + sum_j weight_gj v_j.
template <int kHeads, int kVectors, class T>
HWY_INLINE void ValueColumns(const float* weights, const float* factors, const T* const* values,
                             int64_t count, int64_t dim, int64_t at, const Ahead<T>& ahead,
                             float* out, int64_t stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V acc[kHeads][kVectors];
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) acc[g][i] = hn::Zero(d);
  }
  for (int64_t j = 0; j < count; ++j) {
    PrefetchRow(ahead, j);
    V v[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      v[i] = kVectors == 1 ? LoadRowPadded(d, values[j], at, dim)
                           : LoadRow(d, values[j] + at + i * lanes);
    }
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g) {
      const V w = hn::Set(d, weights[g * kAttnKeyTile + j]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) acc[g][i] = hn::MulAdd(w, v[i], acc[g][i]);
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
    const V factor = hn::Set(d, factors[g]);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      float* target = out + g * stride + at + i * lanes;
      hn::Store(hn::MulAdd(hn::Load(d, target), factor, acc[g][i]), d, target);
    }
  }
}

template <int kHeads, class T>
void ValueBlock(const float* weights, const float* factors, const T* const* values, int64_t count,
                int64_t dim, Ahead<T> ahead, float* out, int64_t stride) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  int64_t at = 0;
  for (; at + kValueVectors * lanes <= dim; at += kValueVectors * lanes) {
    ValueColumns<kHeads, kValueVectors>(weights, factors, values, count, dim, at, ahead, out,
                                        stride);
    ahead.count = 0;
  }
  for (; at < dim; at += lanes) {
    ValueColumns<kHeads, 1>(weights, factors, values, count, dim, at, ahead, out, stride);
    ahead.count = 0;
  }
}

// Writes values / sum as the output of a head, 0 if nothing was visible.
void WriteHead(const AttnDecodeParams& p, int64_t b, int64_t head, float* values, float sum) {
  for (int64_t c = 0; c < p.v_dim; ++c) values[c] = sum == 0.0f ? 0.0f : values[c] / sum;
  store_f32(p.q_dtype, values, p.v_dim, p.out, (b * p.num_heads + head) * p.v_dim);
}

// The working set of one task, all in thread scratch.
struct SplitWork {
  float* q;         // [group, q_stride]
  float* out;       // [group, out_stride]
  float* scores;    // [group, kAttnKeyTile]
  float* factors;   // [group]
  RowState* state;  // [group]
  int64_t group;
  int64_t q_stride;
  int64_t out_stride;
};

SplitWork MakeWork(const AttnDecodeParams& p) {
  SplitWork w;
  w.group = p.num_heads / p.num_kv_heads;
  w.q_stride = base::round_up(p.head_dim, kPad);
  w.out_stride = base::round_up(p.v_dim, kPad);
  const int64_t rows = base::round_up(w.group, kPad);
  const int64_t floats = rows * (w.q_stride + w.out_stride + kAttnKeyTile + 1 + 2);
  static_assert(sizeof(RowState) == 2 * sizeof(float));
  w.q = attn_thread_scratch(static_cast<size_t>(floats));
  w.out = w.q + rows * w.q_stride;
  w.scores = w.out + rows * w.out_stride;
  w.factors = w.scores + rows * kAttnKeyTile;
  w.state = reinterpret_cast<RowState*>(w.factors + rows);
  std::fill(w.q, w.scores, 0.0f);
  std::fill(w.state, w.state + w.group, RowState{});
  return w;
}

// Folds a block into heads g .. g + kHeads - 1. The first heads ask for the rows that come next.
template <int kHeads, class T>
void HeadsOfBlock(const AttnDecodeParams& p, SplitWork& w, int64_t g, const Block<T>& block,
                  const Block<T>& next) {
  float* scores = w.scores + g * kAttnKeyTile;
  constexpr int kStep = std::min(kHeads, kDotHeads);
  for (int h = 0; h < kHeads; h += kStep) {
    const Ahead<T> values{block.values, g + h == 0 ? block.count : 0, p.v_dim};
    DotBlock<kStep>(w.q + (g + h) * w.q_stride, w.q_stride, block.keys, block.count, p.head_dim,
                    values, scores + h * kAttnKeyTile);
  }
  const ScoreRule rule{p.softmax_scale, p.logits_soft_cap};
  for (int h = 0; h < kHeads; ++h) {
    w.factors[g + h] =
        SoftmaxTile(scores + h * kAttnKeyTile, {0, block.count, nullptr}, rule, w.state[g + h]);
  }
  const Ahead<T> keys{next.keys, g == 0 ? next.count : 0, p.head_dim};
  ValueBlock<kHeads>(scores, w.factors + g, block.values, block.count, p.v_dim, keys,
                     w.out + g * w.out_stride, w.out_stride);
}

template <class T>
void FoldBlock(const AttnDecodeParams& p, SplitWork& w, const Block<T>& block,
               const Block<T>& next) {
  int64_t g = 0;
  for (; g + 4 <= w.group; g += 4) HeadsOfBlock<4>(p, w, g, block, next);
  for (; g + 2 <= w.group; g += 2) HeadsOfBlock<2>(p, w, g, block, next);
  for (; g < w.group; ++g) HeadsOfBlock<1>(p, w, g, block, next);
}

// Walks the slots of the positions [position, end) of one KV head.
template <class T>
struct KeyWalk {
  const AttnDecodeParams& p;
  const KeyMap& map;
  const T* k;
  const T* v;
  int64_t position;
  int64_t end;
  int64_t slot;

  // The next keys, at most kAttnKeyTile; none at the end. The last row is repeated up to a multiple
  // of four.
  void next(Block<T>& block) {
    block.count = 0;
    for (; position < end && block.count < kAttnKeyTile; ++position, slot = map.next(slot)) {
      if (slot >= map.num_valid) continue;
      block.keys[block.count] = k + slot * p.head_dim;
      block.values[block.count++] = v + slot * p.v_dim;
    }
    for (int64_t j = block.count; j % 4 != 0; ++j) block.keys[j] = block.keys[block.count - 1];
  }
};

template <class T>
void SplitOf(const AttnDecodeParams& p, const AttnDecodePartials& partials, int64_t b,
             int64_t kv_head, int64_t split) {
  const KeyMap map = key_map(p, b);
  const VisibleKeys visible = visible_keys(map, p.window_size);
  const int64_t keys_each = split_keys(visible.count(), p.n_split);
  const int64_t begin = visible.first + split * keys_each;
  const int64_t end = std::min(visible.end, begin + keys_each);
  if (begin >= end && partials.data != nullptr) return;

  SplitWork w = MakeWork(p);
  const int64_t first_head = kv_head * w.group;
  for (int64_t g = 0; g < w.group; ++g) {
    load_f32(p.q_dtype, p.q, (b * p.num_heads + first_head + g) * p.head_dim, p.head_dim,
             w.q + g * w.q_stride);
  }
  const int64_t row0 = (b * p.num_kv_heads + kv_head) * p.capacity;
  const T* k = static_cast<const T*>(p.k) + row0 * p.head_dim;
  const T* v = static_cast<const T*>(p.v) + row0 * p.v_dim;
  KeyWalk<T> walk{p, map, k, v, begin, end, map.slot(begin)};
  Block<T> blocks[2];
  walk.next(blocks[0]);
  for (int64_t i = 0; blocks[i % 2].count > 0; ++i) {
    walk.next(blocks[(i + 1) % 2]);
    FoldBlock(p, w, blocks[i % 2], blocks[(i + 1) % 2]);
  }

  for (int64_t g = 0; g < w.group; ++g) {
    float* values = w.out + g * w.out_stride;
    if (partials.data == nullptr) {
      WriteHead(p, b, first_head + g, values, w.state[g].sum);
      continue;
    }
    float* partial = partials.at(p, b, first_head + g, split);
    partial[0] = w.state[g].max;
    partial[1] = w.state[g].sum;
    std::copy_n(values, p.v_dim, partial + 2);
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
  const hn::CappedTag<float, 4> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t visible = visible_keys(key_map(p, b), p.window_size).count();
  const int64_t live = base::ceil_div(visible, split_keys(visible, p.n_split));
  float max = kAttnFloor;
  for (int64_t s = 0; s < live; ++s) max = std::max(max, partials.at(p, b, head, s)[0]);
  float* out = attn_thread_scratch(static_cast<size_t>(p.v_dim));
  std::fill_n(out, p.v_dim, -0.0f);  // the neutral element of addition
  float sum = 0.0f;
  for (int64_t s = 0; s < live; ++s) {
    const float* partial = partials.at(p, b, head, s);
    const auto factor = Exp(d, hn::Set(d, partial[0] - max));
    sum += hn::GetLane(factor) * partial[1];
    for (int64_t c = 0; c < p.v_dim; c += lanes) {
      hn::Store(hn::MulAdd(factor, hn::LoadU(d, partial + 2 + c), hn::Load(d, out + c)), d,
                out + c);
    }
  }
  WriteHead(p, b, head, out, sum);
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
  const int64_t rows = p.batch * p.num_heads, splits = max_splits(p), stride = 2 + p.v_dim;
  const auto split = [&](backends::Access split_access, const AttnDecodePartials& partials) {
    cpu.dispatch("attn_decode", name, std::move(split_access),
                 static_cast<uint32_t>(p.batch * p.num_kv_heads * splits),
                 [p, partials, split_fn](uint32_t task) {
                   const int64_t row = task / partials.splits;
                   split_fn(p, partials, row / p.num_kv_heads, row % p.num_kv_heads,
                            task % partials.splits);
                 });
  };
  if (splits == 1) return split(std::move(access), {nullptr, 1, 0});

  const Buffer scratch =
      stream.scratch(static_cast<size_t>(rows * splits * stride) * sizeof(float));
  const AttnDecodePartials partials{reinterpret_cast<float*>(scratch.data()), splits, stride};
  backends::Access split_access = access;
  split_access.writes.clear();
  split_access.write(scratch);
  split(std::move(split_access), partials);
  access.read(scratch);
  cpu.dispatch("attn_decode_merge", name, std::move(access), static_cast<uint32_t>(rows),
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
