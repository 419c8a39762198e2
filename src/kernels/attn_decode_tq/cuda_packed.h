// SPDX-License-Identifier: Apache-2.0
// Rows of codes of any even number of bytes on their way into threadgroup memory, as UnitStream
// brings rows of whole 16 bytes. 32 keys one after the other are one run of bytes, copied 16 at a
// time from the multiple of 16 in front of it: what a slot has from `phase` on is the rows without
// gaps, and a row of a slot starts at any even byte. No byte behind the rows of a part's keys is
// read: a cache may end there.
#pragma once
#include "kernels/attn_decode/cuda_keys.h"

GPU_LIBRARY_BEGIN

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

// The first `bytes` of 16, an even number.
GPU_FN void copy_end(uint to, const uchar* from, uint bytes) {
  if ((bytes & 8) != 0) copy_grain<8>(to, from);
  if ((bytes & 4) != 0) copy_grain<4>(to + (bytes & 8), from + (bytes & 8));
  if ((bytes & 2) != 0) copy_grain<2>(to + (bytes & 12), from + (bytes & 12));
}

// The largest power of two, up to 16, that divides kBytes.
template <int kBytes>
constexpr int kGrainOf = kBytes % 16 == 0 ? 16 : kBytes & -kBytes;

// The rows of a tile's keys.
struct TileRows {
  uint row, there;    // of key LANE; of all, a bit each
  uint first, count;  // the first `count` keys are neighbours from row `first` on; 0: they are not
  bool more;          // behind them is the row of another key

  GPU_FN void find(const KeyRows& rows, uint position) {
    if (rows.straight) {
      first = position + rows.to_row;
      row = first + LANE;
      count = position < rows.end ? min(rows.end - position, uint(kTileKeys)) : 0;
      there = count == kTileKeys ? ~0u : (1u << count) - 1u;
      more = position + kTileKeys < rows.end;
      return;
    }
    bool is_there;
    row = rows.row(position + LANE, &is_there);
    there = __ballot_sync(~0u, is_there);
    first = __shfl_sync(~0u, row, 0);
    count = __all_sync(~0u, is_there && row == first + LANE) ? kTileKeys : 0;
    more = false;  // for all that is known here
  }
};

// From a multiple of 16 to row `row`.
GPU_FN uint phase_of(const uchar* rows, uint row, uint row_bytes) {
  return (uint(reinterpret_cast<ulong>(rows)) + row * row_bytes) % 16;
}

// The rows of a tile as a run of bytes of one cache.
template <int kRowBytes>
struct PackedRun {
  static_assert(kRowBytes % 2 == 0, "rows start at even bytes");
  uint phase;    // from a multiple of 16 to the first row
  uint count;    // as of TileRows
  ulong offset;  // of this lane's first 16 bytes

  // A run that starts elsewhere between multiples of 16 than `wanted`, as behind the end of a ring,
  // is rows by themselves.
  GPU_FN void place(const TileRows& tile, const uchar* from, uint wanted, uint lane) {
    phase = wanted;
    count = phase_of(from, tile.first, kRowBytes) == phase ? tile.count : 0;
    offset = ulong(tile.first) * kRowBytes + 16 * lane - phase;
  }
  // `to`: the place of the first row, `phase` behind a multiple of 16.
  GPU_FN void copy(uint to, const uchar* from, const TileRows& tile, uint lane) const {
    if (count != 0) {
      constexpr int kCopies = (kTileKeys * kRowBytes + 14 + 511) / 512;
      const uint bytes = phase + count * kRowBytes, limit = tile.more ? bytes + 15 : bytes;
      UNROLL for (int i = 0; i < kCopies; i++) {
        const uint at = 512 * i + 16 * lane;
        if (at + 16 > limit) break;
        copy_ahead(to - phase + at, from + offset + 512 * i);
      }
      const uint whole = bytes / 16 * 16;
      if (whole < bytes && !tile.more && lane == bytes / 16 % 32) {
        copy_end(to - phase + whole, from + offset + (whole - 16 * lane), bytes - whole);
      }
    } else {
      constexpr int kGrain = kGrainOf<kRowBytes>, kPieces = kRowBytes / kGrain;
#pragma unroll 1
      for (int i = 0; i < kPieces; i++) {
        const uint at = 32 * i + lane, key = at / kPieces;
        const uint row = __shfl_sync(~0u, tile.row, key);
        const uchar* const grain = from + ulong(row) * kRowBytes + at % kPieces * kGrain;
        if ((tile.there >> key & 1) != 0) copy_grain<kGrain>(to + kGrain * at, grain);
      }
    }
  }
};

// Of a unit, with up to 14 bytes in front of the rows; a word behind them may be read.
template <int kRowBytes>
constexpr int kPackedBytes = 32 + int(kTileKeys) * kRowBytes;

// Units of kTileKeys whole rows: of K, then of V, which lie alike.
template <int kRowBytes, int kStageCount>
class PackedStream : public CopyRing<kPackedBytes<kRowBytes>, kStageCount> {
 public:
  // k and v: the first row of the sequence and KV head, as far from multiples of 16. Tiles start at
  // positions first + i step; `step` rows are whole 16 bytes.
  GPU_FN PackedStream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                      uint step)
      : CopyRing<kPackedBytes<kRowBytes>, kStageCount>(ring),
        rows_(rows),
        k_(k),
        v_(v),
        first_(first),
        step_(step) {
    tile_.find(rows, first);
    run_.place(tile_, k, phase_of(k, tile_.first, kRowBytes), LANE);
    this->shift(run_.phase);
#pragma unroll 1
    for (int i = 0; i < kStageCount; i++) request(i % 2);
  }
  // All lanes have read it; it was K (unit 0) or V (1) of its tile.
  GPU_FN void next(int unit) {
    __syncwarp();
    request((unit + kStageCount) % 2);
  }

 private:
  GPU_FN void request(int unit) {
    if (first_ < rows_.end) {
      run_.copy(this->slot(), unit == 0 ? k_ : v_, tile_, LANE);
      if (unit == 1) {
        first_ += step_;
        if (first_ < rows_.end) {
          tile_.find(rows_, first_);
          run_.place(tile_, k_, run_.phase, LANE);
        }
      }
    }
    this->close_slot();
  }

  const KeyRows& rows_;
  const uchar *k_, *v_;
  uint first_, step_;  // of the tile to ask for
  TileRows tile_;      // its rows
  PackedRun<kRowBytes> run_;
};

GPU_LIBRARY_END
