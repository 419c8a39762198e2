// SPDX-License-Identifier: Apache-2.0
// How rows of codes lie in threadgroup memory for cuda_levels.h: units of 32 keys and up to 128
// elements, in places where lanes that read together meet in no bank.
#pragma once
#include "kernels/attn_decode/cuda_floats.h"
#include "kernels/attn_decode_tq/cuda_norms.h"
#include "kernels/attn_decode_tq/cuda_packed.h"
#include "kernels/attn_decode_tq/cuda_plan.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

using kernels_attn_decode_mma::kWarps;

enum { kKeys = 32, kTiles = 2 };  // of a unit; 16s of them
enum { kTableStride = 128 };      // bytes of an entry: a word for each lane

// Rows one after the other.
template <int kBytes>
struct PlainPlace {
  static constexpr int kRowPitch = kBytes, kPeriod = 1;
  GPU_FN static uint at(uint row, uint piece) { return row * kBytes + 16 * piece; }
};
// Rows of 128 bytes: neither pieces t of rows g nor pieces g of rows 2t meet in a bank.
struct WidePlace {
  static constexpr int kRowPitch = 128, kPeriod = 8;
  GPU_FN static uint at(uint row, uint piece) {
    return row * 128 + 16 * (piece ^ (row / 2 % 4 * 2) ^ (row % 2));
  }
};
template <int kBytes>
struct PlaceOf {
  typedef PlainPlace<kBytes> Type;
};
template <>
struct PlaceOf<64> {
  typedef CodePlace Type;
};
template <>
struct PlaceOf<128> {
  typedef WidePlace Type;
};

// Of codes of every width.
template <int kHeadDim>
struct DimShape {
  typedef kernels_attn_decode_mma::Shape<half, kHeadDim> Floats;
  typedef PartSums<kHeadDim, kWarps> Sums;
  static constexpr int kDim = kHeadDim;
  static constexpr int kUnits = kDim <= 128 ? 1 : kDim / 128, kUnitDim = kDim / kUnits;
  static constexpr int kNorms = kDim == 512 ? 2 : 1, kNormUnits = kUnits / kNorms;
  static constexpr int kKCodes = kUnitDim / 4, kVCodes = kUnitDim / 8;  // of a lane and row
  static constexpr int kUnitSteps = kUnitDim / 16;                      // of K, and tiles of V
  // Elements of a query: step s of a unit has elements 4 s .. 4 s + 3 of each lane's.
  struct Order {
    GPU_FN static uint word(uint e) {
      const uint in_unit = e % kUnitDim, step = e / kUnitDim * kUnitSteps + in_unit % kKCodes / 4;
      return step * 64 + in_unit / kKCodes * 2 + e % 4 / 2;
    }
  };
};

template <int kHeadDim, int kCodeBits>
struct Shape : DimShape<kHeadDim> {
  static constexpr int kBits = kCodeBits;
  // Narrow codes are looked up in pairs.
  static constexpr int kTogether = kBits <= 4 ? 2 : 1;
  static constexpr int kTableBytes = (1 << (kBits * kTogether)) * kTableStride;
  static constexpr int kRowBytes = kHeadDim * kBits / 8;
  static constexpr int kUnitRowBytes = DimShape<kHeadDim>::kUnitDim * kBits / 8;
  static constexpr bool kPacked = kernels::tq_plan::levels_packed(kHeadDim, kBits);
  typedef typename PlaceOf<kUnitRowBytes>::Type Place;
};

// How units of rows of one width come.
template <class S, int kStages, bool kPacked = S::kPacked>
struct StreamOf {
  typedef UnitStream<kKeys, S::kRowBytes, S::kUnits, kStages, typename S::Place> Type;
};
template <class S, int kStages>
struct StreamOf<S, kStages, true> {
  typedef PackedStream<S::kRowBytes, kStages> Type;
};

// The widths of a kernel's caches: of_keys(f) and of_values(f) call f with the shape of either.
// This one: the same of both.
template <int kHeadDim, int kBits>
class OneWidth {
 public:
  static constexpr int kDim = kHeadDim, kTableBytes = Shape<kDim, kBits>::kTableBytes;
  static constexpr int kStages = kernels::tq_plan::levels_stages(kDim, kBits);
  static constexpr int kMemory = kernels::tq_plan::levels_memory(kDim, kBits);
  typedef typename StreamOf<Shape<kDim, kBits>, kStages>::Type Stream;
  static constexpr bool kRolled = false;  // units of K in a loop, or their code one after the other

  GPU_FN explicit OneWidth(const GpuAttnDecodeTq&) {}
  template <class F>
  GPU_FN void of_keys(const F& f) const {
    f(Shape<kDim, kBits>());
  }
  template <class F>
  GPU_FN void of_values(const F& f) const {
    f(Shape<kDim, kBits>());
  }
  GPU_FN uint lane() const { return LANE; }
  GPU_FN uint key_row_bytes() const { return kDim * kBits / 8; }
  GPU_FN uint value_row_bytes() const { return kDim * kBits / 8; }
  GPU_FN Stream stream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                       uint step) const {
    return Stream(rows, k, v, ring, first, step);
  }
};

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
