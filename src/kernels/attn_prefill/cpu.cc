// SPDX-License-Identifier: Apache-2.0
// attn_prefill over rows of floats.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attn_prefill/cpu.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill/cpu.h"
#include "kernels/attn_prefill/cpu_tiles.h"
#include "kernels/attn_prefill/tiles-inl.h"
#include "kernels/common/simd.h"
#include "kernels/common/simd_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlxn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// K and V in rows of T.
template <class T>
struct FloatRows {
  const AttnPrefillParams& p;

  void rotate(float*) const {}
  void rotate_back(float*) const {}
  void keys(const Tile& t, const int64_t* slots, float* out) const {
    widen(static_cast<const T*>(p.k), t.k_rows, slots, p.head_dim, out, t.key_width);
  }
  void values(const Tile& t, const int64_t* slots, float* out) const {
    widen(static_cast<const T*>(p.v), t.v_rows, slots, p.v_dim, out, t.out_width);
  }
  RowsAhead ahead(const Tile& t, int64_t base, int64_t end) const {
    constexpr auto kSize = static_cast<int64_t>(sizeof(T));
    RowsAhead rows;
    rows.left = SlotsAhead(t, base, end);
    const int64_t slot = rows.left > 0 ? t.map.slot(base) : 0;
    const int64_t key = rows.left > 0 ? t.k_rows.at(slot) : -1;
    if (key < 0) return {};
    rows.k = static_cast<const char*>(p.k) + kSize * key;
    rows.v = static_cast<const char*>(p.v) + kSize * t.v_rows.at(slot);
    rows.k_bytes = kSize * p.head_dim;
    rows.v_bytes = kSize * p.v_dim;
    rows.k_stride = kSize * p.k_strides.row;
    rows.v_stride = kSize * p.v_strides.row;
    return rows;
  }

 private:
  static void widen(const T* cache, const CacheRows& rows, const int64_t* slots, int64_t dim,
                    float* out, int64_t width) {
    for (int64_t j = 0; j < kTransposeKeys; ++j) {
      WidenRow(slots[j] >= 0 ? cache + rows.at(slots[j]) : nullptr, dim, out + j * width, width);
    }
  }
};

void AttnPrefillTile(const AttnPrefillParams& p, int64_t b, int64_t kv_head, int64_t tile) {
  switch (p.kv_dtype) {
    case DType::kF16:
      return PrefillTile(p, FloatRows<F16>{p}, b, kv_head, tile);
    case DType::kBF16:
      return PrefillTile(p, FloatRows<BF16>{p}, b, kv_head, tile);
    default:
      return PrefillTile(p, FloatRows<float>{p}, b, kv_head, tile);
  }
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
  dispatch_query_tiles(
      stream, "attn_prefill", name, p, std::move(access),
      [p, tile_fn](int64_t b, int64_t kv_head, int64_t tile) { tile_fn(p, b, kv_head, tile); });
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
