// SPDX-License-Identifier: Apache-2.0
// fwht, tq_encode and tq_decode with SIMD. A task works on a few rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/turboquant/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/checked.h"
#include "kernels/common/float_io.h"
#include "kernels/common/fwht-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/tq_levels-inl.h"
#include "kernels/turboquant/cpu.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void FwhtRows(const FwhtParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* out = p.out + row * p.dim;
    if (p.x != p.out) std::copy_n(p.x + row * p.dim, p.dim, out);
    if (p.mode == ops::FwhtMode::kForward) ApplySigns(p.signs.data(), out, p.dim);
    FwhtRow(out, p.dim);
    if (p.mode == ops::FwhtMode::kInverse) ApplySigns(p.signs.data(), out, p.dim);
  }
}

// The root of the sum of squares of y [count], padded with zeros to whole vectors.
float RootOfSquares(const float* y, int64_t count) {
  const hn::ScalableTag<float> d;
  auto largest = hn::Zero(d), sum = hn::Zero(d);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < count; c += lanes)
    largest = hn::Max(largest, hn::Abs(hn::Load(d, y + c)));
  // Squares of large values would overflow.
  const float shrink = hn::GetLane(hn::MaxOfLanes(d, largest)) > 0x1p60f ? 0x1p-64f : 1.0f;
  for (int64_t c = 0; c < count; c += lanes) {
    const auto v = hn::Mul(hn::Load(d, y + c), hn::Set(d, shrink));
    sum = hn::MulAdd(v, v, sum);
  }
  return std::sqrt(hn::GetLane(hn::SumOfLanes(d, sum))) / shrink;
}

// index [count]: how many bounds lie below z = y * factor. Returns <z, z> / <z, levels>.
float IndexRow(const quant::TqTable& t, const float* y, float factor, int64_t count,
               int32_t* index) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto with_itself = hn::Zero(d), with_level = hn::Zero(d);
  for (int64_t c = 0; c < count; c += lanes) {
    const auto z = hn::Mul(hn::Load(d, y + c), hn::Set(d, factor));
    auto at = hn::Zero(di);
    for (int32_t step = 1 << (t.bits - 1); step > 0; step /= 2) {
      const auto bound = hn::GatherIndex(d, t.bounds.data(), hn::Add(at, hn::Set(di, step - 1)));
      const auto above = hn::RebindMask(di, hn::Lt(bound, z));
      at = hn::Add(at, hn::IfThenElseZero(above, hn::Set(di, step)));
    }
    if (t.sign_magnitude) {  // TqTable::code_of
      const auto middle = hn::Set(di, 1 << (t.bits - 1)), last = hn::Set(di, (1 << t.bits) - 1);
      at = hn::IfThenElse(hn::Lt(at, middle), hn::Sub(last, at), hn::Sub(at, middle));
    }
    hn::StoreU(at, di, index + c);
    with_itself = hn::MulAdd(z, z, with_itself);
    with_level = hn::MulAdd(z, hn::GatherIndex(d, t.levels.data(), at), with_level);
  }
  const float denominator = hn::GetLane(hn::SumOfLanes(d, with_level));
  return denominator > 0.0f ? hn::GetLane(hn::SumOfLanes(d, with_itself)) / denominator : 1.0f;
}

// Codes the row that starts at element `from` of the source.
void EncodeRow(const TqEncodeParams& p, int64_t from, int64_t row) {
  constexpr int64_t kPad = 16;
  HWY_ALIGN float y[quant::kTqMaxDim];
  HWY_ALIGN int32_t index[quant::kTqMaxDim];
  const TqCache& to = p.to;
  const quant::TqTable& t = to.table;
  load_f32(p.src_dtype, p.src, from, to.dim, y);
  std::fill(y + to.dim, y + base::round_up(to.dim, kPad), 0.0f);
  RotateRow(t.signs.data(), y, to.dim);

  const int64_t count = to.dim / to.norm_count;
  for (int64_t b = 0; b < to.norm_count; ++b) {
    float* const block = y + b * count;
    float norm = RootOfSquares(block, count);
    float factor = std::sqrt(static_cast<float>(count)) / norm;
    if (to.norm_count > 1) {  // root mean square
      norm /= std::sqrt(static_cast<float>(count));
      factor = t.scale_factor / norm;
    }
    if (norm <= quant::kTqZeroNorm) factor = 0.0f;
    const float ratio = IndexRow(t, block, factor, count, index + b * count);
    to.norms[row * to.norm_count + b] = p.norm_correction ? norm * ratio : norm;
  }
  uint8_t* codes = to.codes + row * to.row_bytes;
  for (int64_t c = 0; c < to.dim; c += 8, codes += t.code_bits) {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word |= static_cast<uint64_t>(index[c + i]) << (i * t.code_bits);
    std::memcpy(codes, &word, static_cast<size_t>(t.code_bits));
  }
}

// Tokens [begin, end) of sequence b.
void TqEncodeTokens(const TqEncodeParams& p, int64_t b, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    // A position that came from a device buffer has not been checked.
    const int64_t position = int64_t{p.pos[b]} + p.pos_skip + t;
    const int64_t slot = p.ring && position >= 0 ? position % p.capacity : position;
    if (slot < 0 || slot >= p.capacity) continue;
    for (int64_t h = 0; h < p.num_kv_heads; ++h) {
      const int64_t row = tq_rows(p.to, p.pages, b, h, p.num_kv_heads).at(slot);
      if (row < 0) continue;
      EncodeRow(p, ((b * p.n_src + p.src_offset + t) * p.num_kv_heads + h) * p.to.dim, row);
    }
  }
}

void TqDecodeRows(const TqDecodeParams& p, int64_t begin, int64_t end) {
  const TqCache& from = p.from;
  const int64_t count = from.dim / from.norm_count;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = i / p.n * from.capacity + p.first_slot + i % p.n;
    const uint8_t* codes = from.codes + row * from.row_bytes;
    float* out = p.out + i * from.dim;
    TqLevels(from.table, &codes, 1, from.dim, out, 0);
    for (int64_t b = 0; b < from.norm_count; ++b) {
      const float factor = quant::tq_norm_factor(from.norms[row * from.norm_count + b], from.dim,
                                                 from.table.scale_factor);
      for (int64_t c = b * count; c < (b + 1) * count; ++c) out[c] *= factor;
    }
    if (p.rotate_back) RotateRowBack(from.table.signs.data(), out, from.dim);
  }
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(FwhtRows);
HWY_EXPORT(TqEncodeTokens);
HWY_EXPORT(TqDecodeRows);

namespace {

// Elements of a task: a few microseconds of work.
constexpr int64_t kTaskElements = 8192;

// run(begin, end) over `rows` rows of `width` elements.
template <typename Run>
void dispatch_rows(StreamImpl& stream, const char* op, Isa isa, backends::Access access,
                   int64_t rows, int64_t width, Run run) {
  const char* const entry = isa == Isa::kAvx512 ? "avx512"
                            : isa == Isa::kAvx2 ? "avx2"
                                                : "baseline";
  const int64_t each = std::max<int64_t>(1, kTaskElements / width);
  backends::cpu::cpu_stream(stream).dispatch(
      op, entry, std::move(access), base::ceil_div(rows, each),
      [=](uint32_t task) { run(task * each, std::min(rows, (task + 1) * each)); });
}

}  // namespace

template <Isa isa>
void fwht_cpu(StreamImpl& stream, const FwhtParams& p, backends::Access access) {
  dispatch_rows(stream, "fwht", isa, std::move(access), p.rows, p.dim,
                [p, fn = variant(HWY_DISPATCH_TABLE(FwhtRows), isa)](int64_t begin, int64_t end) {
                  fn(p, begin, end);
                });
}

template <Isa isa>
void tq_encode_cpu(StreamImpl& stream, const TqEncodeParams& p, backends::Access access) {
  const auto fn = variant(HWY_DISPATCH_TABLE(TqEncodeTokens), isa);
  dispatch_rows(stream, "tq_encode", isa, std::move(access), p.batch * p.n,
                p.num_kv_heads * p.to.dim, [p, fn](int64_t begin, int64_t end) {
                  for (int64_t i = begin; i < end;) {
                    const int64_t b = i / p.n, stop = std::min(end, (b + 1) * p.n);
                    fn(p, b, i - b * p.n, stop - b * p.n);
                    i = stop;
                  }
                });
}

template <Isa isa>
void tq_decode_cpu(StreamImpl& stream, const TqDecodeParams& p, backends::Access access) {
  const auto fn = variant(HWY_DISPATCH_TABLE(TqDecodeRows), isa);
  dispatch_rows(stream, "tq_decode", isa, std::move(access), p.head_rows * p.n, p.from.dim,
                [p, fn](int64_t begin, int64_t end) { fn(p, begin, end); });
}

#define MLXN_INSTANTIATE(isa)                                                             \
  template void fwht_cpu<isa>(StreamImpl&, const FwhtParams&, backends::Access);          \
  template void tq_encode_cpu<isa>(StreamImpl&, const TqEncodeParams&, backends::Access); \
  template void tq_decode_cpu<isa>(StreamImpl&, const TqDecodeParams&, backends::Access);
MLXN_INSTANTIATE(Isa::kAvx512)
MLXN_INSTANTIATE(Isa::kAvx2)
MLXN_INSTANTIATE(Isa::kBaseline)
#undef MLXN_INSTANTIATE

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
