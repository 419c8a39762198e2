// SPDX-License-Identifier: Apache-2.0
// attn_prefill over codes with SIMD: the tiles of attn_prefill, with queries that are rotated when
// they are read, keys and values that become levels times their norm as a key tile is loaded, and
// outputs that are rotated back before they are written.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_prefill_tq/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/attn_prefill/cpu_tiles.h"
#include "kernels/attn_prefill/tiles-inl.h"
#include "kernels/attn_prefill_tq/cpu.h"
#include "kernels/common/fwht-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"
#include "kernels/common/tq_levels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// out [dim] = levels * factor.
template <class T>
HWY_INLINE void ScaleLevels(const T* levels, float factor, int64_t dim, float* out) {
  const hn::CappedTag<float, 8> d;  // dim is a multiple of 8
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < dim; c += lanes) {
    hn::StoreU(hn::Mul(LoadRow(d, levels + c), hn::Set(d, factor)), d, out + c);
  }
}

// The rows of `slots` [kTransposeKeys] as f32, padded with zeros to `width`; zeros for -1.
template <class T>
void DecodeRows(const TqCache& cache, const CacheRows& rows, const int64_t* slots, T* levels,
                float* out, int64_t width) {
  const uint8_t* codes[kTransposeKeys];
  int64_t lanes[kTransposeKeys], count = 0;
  for (int64_t j = 0; j < kTransposeKeys; ++j) {
    if (slots[j] < 0) {
      std::fill_n(out + j * width, width, 0.0f);
      continue;
    }
    std::fill_n(out + j * width + cache.dim, width - cache.dim, 0.0f);
    codes[count] = cache.codes + rows.at(slots[j]) * cache.row_bytes;
    lanes[count++] = j;
  }
  TqLevels(cache.table, codes, count, cache.dim, levels, width);
  const float unit = std::is_same_v<T, F16> ? cache.table.half_unit : 1.0f;
  const float of_norm = quant::tq_norm_factor(unit, cache.dim, cache.table.scale_factor);
  const int64_t each = cache.dim / cache.norm_count;
  for (int64_t i = 0; i < count; ++i) {
    const float* norms = cache.norms + rows.at(slots[lanes[i]]) * cache.norm_count;
    for (int64_t b = 0; b < cache.norm_count; ++b) {
      ScaleLevels(levels + i * width + b * each, norms[b] * of_norm, each,
                  out + lanes[i] * width + b * each);
    }
  }
}

struct CodedRows {
  const AttnPrefillTqParams& p;

  void rotate(float* row) const {
    if (!p.rotated) RotateRow(p.k.table.signs.data(), row, p.k.dim);
  }
  void rotate_back(float* row) const {
    if (!p.rotated) RotateRowBack(p.v.table.signs.data(), row, p.v.dim);
  }
  void keys(const Tile& t, const int64_t* slots, float* out) const {
    decode(p.k, t.k_rows, slots, t.levels, out, t.key_width);
  }
  void values(const Tile& t, const int64_t* slots, float* out) const {
    decode(p.v, t.v_rows, slots, t.levels, out, t.out_width);
  }
  RowsAhead ahead(const Tile& t, int64_t base, int64_t end) const {
    RowsAhead rows;
    rows.left = SlotsAhead(t, base, end);
    const int64_t row = rows.left > 0 ? t.k_rows.at(t.map.slot(base)) : -1;
    if (row < 0) return {};
    rows.k_bytes = rows.k_stride = p.k.row_bytes;
    rows.v_bytes = rows.v_stride = p.v.row_bytes;
    rows.k = reinterpret_cast<const char*>(p.k.codes) + row * p.k.row_bytes;
    rows.v = reinterpret_cast<const char*>(p.v.codes) + row * p.v.row_bytes;
    return rows;
  }

 private:
  static void decode(const TqCache& cache, const CacheRows& rows, const int64_t* slots,
                     float* levels, float* out, int64_t width) {
    if (cache.table.has_half) {
      return DecodeRows(cache, rows, slots, reinterpret_cast<F16*>(levels), out, width);
    }
    DecodeRows(cache, rows, slots, levels, out, width);
  }
};

void AttnPrefillTqTile(const AttnPrefillTqParams& p, int64_t b, int64_t kv_head, int64_t tile) {
  PrefillTile(p.attn, CodedRows{p}, b, kv_head, tile);
}

}  // namespace mlxn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlxn::kernels {

HWY_EXPORT(AttnPrefillTqTile);

template <Isa isa>
void attn_prefill_tq_cpu(StreamImpl& stream, const AttnPrefillTqParams& p,
                         backends::Access access) {
  const char* const name = isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "baseline";
  const auto tile_fn = variant(HWY_DISPATCH_TABLE(AttnPrefillTqTile), isa);
  dispatch_query_tiles(
      stream, "attn_prefill_tq", name, p.attn, std::move(access),
      [p, tile_fn](int64_t b, int64_t kv_head, int64_t tile) { tile_fn(p, b, kv_head, tile); });
}

template void attn_prefill_tq_cpu<Isa::kAvx512>(StreamImpl&, const AttnPrefillTqParams&,
                                                backends::Access);
template void attn_prefill_tq_cpu<Isa::kAvx2>(StreamImpl&, const AttnPrefillTqParams&,
                                              backends::Access);
template void attn_prefill_tq_cpu<Isa::kBaseline>(StreamImpl&, const AttnPrefillTqParams&,
                                                  backends::Access);

}  // namespace mlxn::kernels
#endif  // HWY_ONCE
