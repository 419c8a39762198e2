// SPDX-License-Identifier: Apache-2.0
// Caches whose K and V have codes of different widths, for the kernel of cuda_levels.h: one kernel
// a head dim, in which each unit is read by the code for its width.
#pragma once
#include "kernels/attn_decode_tq/cuda_level_rows.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

// f(Shape) of the width, which is even unless kOdd.
template <int kDim, bool kOdd, class F>
GPU_FN void of_width(uint bits, const F& f) {
  if constexpr (kOdd) {
    if (bits == 3) return f(Shape<kDim, 3>());
    if (bits == 5) return f(Shape<kDim, 5>());
  }
  if (bits == 2) return f(Shape<kDim, 2>());
  if (bits == 4) return f(Shape<kDim, 4>());
  if (bits == 6) return f(Shape<kDim, 6>());
  f(Shape<kDim, 8>());
}

// LANE. Of long rows the compiler takes it for another number each time: it would keep what follows
// from it for every width, more than there are registers, from one tile to the next.
template <int kDim>
GPU_FN uint lane_now() {
  uint lane = LANE;
  if (kDim > 96) asm volatile("" : "+r"(lane));
  return lane;
}

// As UnitStream or PackedStream, whichever a unit takes; slots have room for those of 8 bits.
template <int kDim, bool kOdd, int kStages>
class MixedStream : public CopyRing<kPackedBytes<DimShape<kDim>::kUnitDim>, kStages> {
 public:
  GPU_FN MixedStream(const KeyRows& rows, const uchar* k, const uchar* v, uint k_bits, uint v_bits,
                     uint ring, uint first, uint step)
      : Ring(ring),
        rows_(rows),
        k_(k),
        v_(v),
        k_bits_(k_bits),
        v_bits_(v_bits),
        first_(first),
        step_(step) {
    tile_.find(rows, first);
    k_phase_ = phase_of(k, tile_.first, kDim / 8 * k_bits);
    v_phase_ = phase_of(v, tile_.first, kDim / 8 * v_bits);
    phase_ = k_phase_;
#pragma unroll 1
    for (int i = 0; i < kStages; i++) request(i % kTileUnits);
  }
  GPU_FN uint wait() const { return Ring::wait() + (kMayBePacked ? phase_ : 0); }
  GPU_FN void next(int unit) {
    __syncwarp();
    request((unit + kStages) % kTileUnits);
    phase_ = (unit + 1) % kTileUnits < kUnits ? k_phase_ : v_phase_;
  }

 private:
  typedef CopyRing<kPackedBytes<DimShape<kDim>::kUnitDim>, kStages> Ring;
  static constexpr int kUnits = DimShape<kDim>::kUnits, kTileUnits = 2 * kUnits;
  static constexpr bool kMayBePacked = kDim % 128 != 0 && (kDim != 64 || kOdd);

  GPU_FN void request(int unit) {
    if (first_ < rows_.end) {
      const bool of_k = unit < kUnits;
      of_width<kDim, kOdd>(of_k ? k_bits_ : v_bits_, [&](auto shape) INLINED {
        typedef decltype(shape) S;
        const uchar* const from = of_k ? k_ : v_;
        if constexpr (S::kPacked) {
          const uint phase = of_k ? k_phase_ : v_phase_, lane = lane_now<kDim>();
          PackedRun<S::kRowBytes> run;
          run.place(tile_, from, phase, lane);
          run.copy(this->slot() + phase, from, tile_, lane);
        } else {
          copy_pieces<S>(from + unit % kUnits * S::kUnitRowBytes);
        }
      });
      if (unit == kTileUnits - 1) {
        first_ += step_;
        if (first_ < rows_.end) tile_.find(rows_, first_);
      }
    }
    this->close_slot();
  }
  // 16 bytes a lane at a time.
  template <class S>
  GPU_FN void copy_pieces(const uchar* from) const {
    constexpr uint kPieces = S::kUnitRowBytes / 16;
    const uint lane = lane_now<kDim>();
    UNROLL for (uint i = 0; i < kPieces; i++) {
      const uint at = 32 * i + lane, key = at / kPieces, piece = at % kPieces;
      const uint row = __shfl_sync(~0u, tile_.row, key);
      copy_ahead(this->slot() + S::Place::at(key, piece),
                 from + ulong(row) * S::kRowBytes + 16 * piece, (tile_.there >> key & 1) != 0);
    }
  }

  const KeyRows& rows_;
  const uchar *k_, *v_;
  uint k_bits_, v_bits_;
  uint first_, step_;       // of the tile to ask for
  TileRows tile_;           // its rows
  uint k_phase_, v_phase_;  // bytes from a multiple of 16 to the first row
  uint phase_;              // of the oldest unit
};

// Of K and V, each of its own; as OneWidth. Rows of 64 elements are packed in odd widths only.
template <int kHeadDim, bool kOdd = true>
class AnyWidths {
 public:
  static constexpr int kDim = kHeadDim, kTableBytes = 256 * kTableStride;  // of the longest
  static constexpr int kMemory = kernels::tq_plan::mixed_memory(kDim);
  typedef MixedStream<kDim, kOdd, kernels::tq_plan::mixed_stages(kDim)> Stream;
  static constexpr bool kRolled = kDim == 512;  // or code would not fit the instruction cache

  GPU_FN explicit AnyWidths(const GpuAttnDecodeTq& p)
      : k_bits_(p.k.code_bits), v_bits_(p.v.code_bits) {}
  template <class F>
  GPU_FN void of_keys(const F& f) const {
    of_width<kDim, kOdd>(k_bits_, f);
  }
  template <class F>
  GPU_FN void of_values(const F& f) const {
    of_width<kDim, kOdd>(v_bits_, f);
  }
  GPU_FN uint lane() const { return lane_now<kDim>(); }
  GPU_FN uint key_row_bytes() const { return kDim / 8 * k_bits_; }
  GPU_FN uint value_row_bytes() const { return kDim / 8 * v_bits_; }
  GPU_FN Stream stream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                       uint step) const {
    return Stream(rows, k, v, k_bits_, v_bits_, ring, first, step);
  }

 private:
  uint k_bits_, v_bits_;
};

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
