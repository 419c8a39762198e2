// SPDX-License-Identifier: Apache-2.0
// Codes on their way into threadgroup memory: tiles of 32 keys, whole rows of K in one ring of
// slots and of V in another, so that K is asked for again while V is still read. From sm_90 on the
// copies are bulk copies, of which a barrier in threadgroup memory counts the bytes; before, lanes
// copy 16 bytes at a time and the barrier counts lanes.
//
// Row g of half m of the k-th 16 keys of a product is key 4g + 2k + m. Lane 4g + t so reads
//   of K: 16 bytes t of 64 of row 2k + m of the four from 4g on
//   of V: 8 bytes g of 64 of rows 2k + m and 4 + 2k + m of the eight from 8t on
// and no two lanes meet in a bank, as fours of K's rows and eights of V's have a gap behind them.
#pragma once
#include "kernels/attn_decode/cuda_keys.h"

GPU_LIBRARY_BEGIN

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define MLXN_BULK_TILES 1
#else
#define MLXN_BULK_TILES 0
#endif

enum { kTileKeys = 32 };

// The key of a tile that is row g or g + 8 of a product over 16 of its keys.
struct TileOrder {
  GPU_FN static uint key(int k, int m) { return LANE / 4 * 4 + 2 * k + m; }
};

template <int kBytesOfRow, int kGroupRows, int kGap, int kSlotCount>
class TileRing {
 public:
  static constexpr int kRowBytes = kBytesOfRow, kSlots = kSlotCount;
  static constexpr int kGroups = kTileKeys / kGroupRows;
  static constexpr int kGroupBytes = kGroupRows * kRowBytes + kGap;
  static constexpr int kSlotBytes = kGroups * kGroupBytes, kBytes = kSlots * kSlotBytes;

  // Tiles start at positions first + i step below rows.end; from: row 0. ring, barriers: addresses
  // of kBytes, aligned to 16, and of kSlots words of 8 bytes.
  GPU_FN TileRing(const KeyRows& rows, const uchar* from, uint ring, uint barriers, uint first,
                  uint step)
      : rows_(rows), from_(from), ring_(ring), barriers_(barriers), first_(first), step_(step) {}

  // By one simdgroup; another one that shares the ring must not wait before it has met this one.
  GPU_FN void open() {
    if (LANE == 0) {
      UNROLL for (int i = 0; i < kSlots; i++) {
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barriers_ + 8 * i),
                     "n"(MLXN_BULK_TILES != 0 ? 1 : 32)
                     : "memory");
      }
#if MLXN_BULK_TILES
      asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
#endif
    }
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < kSlots; i++) request();
  }
  // The address of the next tile, which has arrived.
  GPU_FN uint wait() const {
    uint done = 0;
    while (done == 0) {
#if MLXN_BULK_TILES
      asm volatile(
          "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n}"
          : "=r"(done)
          : "r"(barriers_ + 8 * slot_), "r"(phase_)
          : "memory");
#else
      asm volatile(
          "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n}"
          : "=r"(done)
          : "r"(barriers_ + 8 * slot_), "r"(phase_)
          : "memory");
#endif
    }
    return ring_ + slot_ * kSlotBytes;
  }
  // The tile has been read, or need not be.
  GPU_FN void next() {
    slot_ = slot_ + 1 == kSlots ? 0 : slot_ + 1;
    if (slot_ == 0) phase_ ^= 1;
  }
  // Asks for the next tile that has not been asked for, in the slot of the oldest one, which all
  // lanes of all simdgroups have read.
  GPU_FN void request() {
    if (first_ < rows_.end) {
      copy(ring_ + to_fill_ * kSlotBytes, barriers_ + 8 * to_fill_);
      first_ += step_;
    }
    to_fill_ = to_fill_ + 1 == kSlots ? 0 : to_fill_ + 1;
  }

 private:
  GPU_FN static uint place_of(uint row) {
    return row / kGroupRows * kGroupBytes + row % kGroupRows * kRowBytes;
  }
  // The tile at first_. Rows that are not there leave what the slot had.
  GPU_FN void copy(uint to, uint barrier) const {
    uint row = first_ + rows_.to_row, count = min(rows_.end - first_, uint(kTileKeys));
    bool there = LANE < count, in_order = rows_.straight;  // one row after the other
    if (in_order) {
      row += LANE;
    } else {
      row = rows_.row(first_ + LANE, &there);
      count = __popc(__ballot_sync(~0u, there));
      const uint first_row = __shfl_sync(~0u, row, 0);
      in_order = __all_sync(~0u, there && row == first_row + LANE);
    }
#if MLXN_BULK_TILES
    if (LANE == 0) {
      asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier),
                   "r"(count * kRowBytes)
                   : "memory");
    }
    uint at = LANE, rows = there ? 1 : 0;
    if (in_order) {  // a lane has a group
      row += LANE * (kGroupRows - 1);
      at = LANE * kGroupRows;
      rows = count > at ? min(count - at, uint(kGroupRows)) : 0;
    }
    if (rows != 0) {
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
          "[%3];" ::"r"(to + place_of(at)),
          "l"(from_ + ulong(row) * kRowBytes), "r"(rows * kRowBytes), "r"(barrier)
          : "memory");
    }
#else
    constexpr int kPieces = kRowBytes / 16;
    const uint all = __ballot_sync(~0u, there);
#pragma unroll 1
    for (int i = 0; i < kPieces; i++) {
      const uint key = (32 * i + LANE) / kPieces, piece = (32 * i + LANE) % kPieces;
      const uint source = __shfl_sync(~0u, row, key);
      if ((all >> key & 1) != 0) {
        copy_ahead(to + place_of(key) + 16 * piece, from_ + ulong(source) * kRowBytes + 16 * piece);
      }
    }
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
#endif
  }

  const KeyRows& rows_;
  const uchar* from_;
  uint ring_, barriers_;
  uint first_, step_;  // of the tile to ask for
  uint slot_ = 0, phase_ = 0, to_fill_ = 0;
};

GPU_LIBRARY_END
