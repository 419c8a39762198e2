// SPDX-License-Identifier: Apache-2.0
// Rows of codes of any even number of bytes on their way into threadgroup memory, as UnitStream
// brings rows of whole 16 bytes. 32 keys one after the other are one run of bytes, copied 16 at a
// time from the multiple of 16 in front of it: what a slot has from `phase` on is the rows without
// gaps, and a row of a slot starts at any even byte.
#pragma once
#include "kernels/attn_decode/cuda_keys.h"

GPU_LIBRARY_BEGIN

// 16 bytes, the last of which are zeros if fewer are there.
GPU_FN void copy_ahead_part(uint to, const void* from, uint bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
// 2, 4, 8 or 16 bytes that are aligned to as many; two are there at once.
template <int kBytes>
GPU_FN void copy_grain(uint to, const uchar* from) {
  if constexpr (kBytes == 16) {
    copy_ahead(to, from);
  } else if constexpr (kBytes >= 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(kBytes)
                 : "memory");
  } else {
    const ushort v = *reinterpret_cast<const ushort*>(from);
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(to), "h"(v) : "memory");
  }
}

// The largest power of two, up to 16, that divides `bytes`.
constexpr int grain_of(int bytes) {
  return bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : bytes % 4 == 0 ? 4 : 2;
}

// Units of kTileKeys whole rows: of K, then of V, which lie alike.
template <int kRowBytes, int kStageCount>
class PackedStream {
 public:
  static_assert(kRowBytes % 2 == 0, "rows start at even bytes");
  // With up to 14 bytes in front of the rows; a word behind them may be read.
  static constexpr int kUnitBytes = kTileKeys * kRowBytes + 32;

  // k and v: the first row of the sequence and KV head, as far from multiples of 16. Tiles start at
  // positions first + i step; `step` rows are whole 16 bytes.
  GPU_FN PackedStream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                      uint step)
      : rows_(rows), k_(k), v_(v), first_(first), step_(step) {
    const uint row = find_rows();
    phase_ = phase_of(row);
    ring_ = ring + phase_;
    place_rows(row);
#pragma unroll 1
    for (int i = 0; i < kStageCount; i++) request(i % 2);
  }
  // The address of the first row of the oldest unit, which has arrived.
  GPU_FN uint wait() const {
    wait_copies<kStageCount - 1>();
    __syncwarp();
    return ring_ + place_;
  }
  // All lanes have read it; it was K (kUnit = 0) or V (1) of its tile.
  template <int kUnit>
  GPU_FN void next() {
    __syncwarp();
    request((kUnit + kStageCount) % 2);
  }

 private:
  static constexpr int kGrain = grain_of(kRowBytes), kPieces = kRowBytes / kGrain;
  static constexpr int kCopies = (kTileKeys * kRowBytes + 14 + 511) / 512;

  GPU_FN uint phase_of(uint row) const {
    return (uint(reinterpret_cast<ulong>(k_)) + row * kRowBytes) % 16;
  }
  // Of the tile at first_; returns the row of its first key.
  GPU_FN uint find_rows() {
    if (rows_.straight) {
      count_ = first_ < rows_.end ? min(rows_.end - first_, uint(kTileKeys)) : 0;
      row_ = first_ + rows_.to_row + LANE;
      there_ = count_ == kTileKeys ? ~0u : (1u << count_) - 1u;
      return first_ + rows_.to_row;
    }
    bool there;
    row_ = rows_.row(first_ + LANE, &there);
    there_ = __ballot_sync(~0u, there);
    const uint first_row = __shfl_sync(~0u, row_, 0);
    count_ = __all_sync(~0u, there && row_ == first_row + LANE) ? kTileKeys : 0;
    return first_row;
  }
  // row: of the first key. A run that starts elsewhere between multiples of 16 than the first one,
  // as behind the end of a ring, is copied row by row.
  GPU_FN void place_rows(uint row) {
    if (phase_of(row) != phase_) count_ = 0;
    offset_ = ulong(row) * kRowBytes + 16 * LANE - phase_;
  }
  GPU_FN void request(int unit) {
    if (first_ < rows_.end) {
      const uchar* const from = unit == 0 ? k_ : v_;
      const uint to = ring_ + place_;
      if (count_ != 0) {
        const uint bytes = phase_ + count_ * kRowBytes;
        UNROLL for (int i = 0; i < kCopies; i++) {
          const uint at = 512 * i + 16 * LANE;
          if (at >= bytes) break;
          copy_ahead_part(to - phase_ + at, from + offset_ + 512 * i, min(bytes - at, 16u));
        }
      } else {
#pragma unroll 1
        for (int i = 0; i < kPieces; i++) {
          const uint at = 32 * i + LANE, row = at / kPieces;
          const uint source = __shfl_sync(~0u, row_, row);
          const uchar* const grain = from + ulong(source) * kRowBytes + at % kPieces * kGrain;
          if ((there_ >> row & 1) != 0) copy_grain<kGrain>(to + kGrain * at, grain);
        }
      }
      if (unit == 1) {
        first_ += step_;
        if (first_ < rows_.end) place_rows(find_rows());
      }
    }
    close_copies();
    place_ = place_ + kUnitBytes == kStageCount * kUnitBytes ? 0 : place_ + kUnitBytes;
  }

  const KeyRows& rows_;
  const uchar *k_, *v_;
  uint ring_;          // of the first row of a unit in the first slot
  uint first_, step_;  // of the tile to ask for
  uint row_, there_;   // of its key LANE; of all
  uint count_;         // its keys are so many neighbours; 0: rows by themselves
  ulong offset_;       // of this lane's first 16 bytes of them
  uint phase_;         // bytes from a multiple of 16 to the first row
  uint place_ = 0;     // of the oldest unit and of the next one asked for
};

GPU_LIBRARY_END
