// SPDX-License-Identifier: Apache-2.0
// Codes on their way into threadgroup memory: tiles of 32 keys, whole rows of K in one ring of
// slots and of V in another, so that K is asked for again while V is still read. From sm_90 on the
// copies are bulk copies, of which a barrier in threadgroup memory counts the bytes; in PTX for
// older ones lanes copy 16 bytes at a time and the barrier counts lanes. (A GPU of sm_80 itself has
// no room for the rings; its launches take the shared text.)
//
// Rows 2t and 2t + 1 of half m of the k-th 16 keys of a product are, with i = 2k + m,
//   keys 8t + 2i and the next one, or
//   of rows of 128 bytes keys 4t + i and 16 + 4t + i
// Of K lane 4g + t reads 16 bytes t of 64 of the key of row g, of V 8 bytes g of 64 of the keys of
// rows 2t and 2t + 1. Eights of V's rows have a gap of 32 bytes behind them, and sixteens of K's,
// if they have 128 bytes, one of 64: lanes that read together then meet in a bank two by two at
// most.
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
template <int kRowBytes>
struct TileOrder {
  static constexpr int kStep = kRowBytes == 128 ? 1 : 2;      // from 2k + m to the next
  static constexpr int kOdd = kRowBytes == 128 ? 16 : 1;      // from row 2t to row 2t + 1
  GPU_FN static uint first(uint t) { return t * 4 * kStep; }  // row 2t of k = m = 0
  GPU_FN static uint key(int k, int m) {
    return first(LANE / 8) + LANE / 4 % 2 * kOdd + (2 * k + m) * kStep;
  }
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

  // Of a row in a slot.
  GPU_FN static constexpr uint place_of(uint row) {
    return row / kGroupRows * kGroupBytes + row % kGroupRows * kRowBytes;
  }
  // By one simdgroup; another one that shares the ring must not wait before it has met this one.
  GPU_FN void open() {
    if (LANE == 0) {
      UNROLL for (int i = 0; i < kSlots; i++) {
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barriers_ + 8 * i),
                     "n"(MLXN_BULK_TILES != 0 ? 1 : 32)
                     : "memory");
      }
#if MLXN_BULK_TILES
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
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
  // The tile at first_. Rows that are not there leave what the slot had.
  GPU_FN void copy(uint to, uint barrier) const {
    uint row = first_ + rows_.to_row, all = ~0u;  // all: bit i, row i is there
    bool in_order = rows_.straight;               // one row after the other
    if (in_order) {
      row += LANE;
      if (rows_.end - first_ < kTileKeys) all >>= kTileKeys - (rows_.end - first_);
    } else {
      bool there;
      row = rows_.row(first_ + LANE, &there);
      all = __ballot_sync(~0u, there);
      const uint first_row = __shfl_sync(~0u, row, 0);
      in_order = __all_sync(~0u, there && row == first_row + LANE);
    }
#if MLXN_BULK_TILES
    const bool whole = in_order && all == ~0u;
    if (elect()) {
      asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier),
                   "r"(__popc(all) * kRowBytes)
                   : "memory");
      const uchar* const source = from_ + ulong(row - LANE) * kRowBytes;
      if (whole) {
        UNROLL for (int i = 0; i < kGroups; i++) {
          bulk_copy(to + i * kGroupBytes, source + i * kGroupRows * kRowBytes,
                    kGroupRows * kRowBytes, barrier);
        }
      }
    }
    if (whole) return;
#pragma unroll 1
    for (uint i = 0; i < kTileKeys; i++) {
      const uint source = __shfl_sync(~0u, row, i);
      if ((all >> i & 1) != 0 && elect()) {
        bulk_copy(to + place_of(i), from_ + ulong(source) * kRowBytes, kRowBytes, barrier);
      }
    }
#else
    constexpr int kPieces = kRowBytes / 16;
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
#if MLXN_BULK_TILES
  // True in one lane, which the compiler then knows to be alone.
  GPU_FN static bool elect() {
    uint elected;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(elected));
    return elected != 0;
  }
  GPU_FN static void bulk_copy(uint to, const uchar* from, uint bytes, uint barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
        "[%3];" ::"r"(to),
        "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
  }
#endif

  const KeyRows& rows_;
  const uchar* from_;
  uint ring_, barriers_;
  uint first_, step_;  // of the tile to ask for
  uint slot_ = 0, phase_ = 0, to_fill_ = 0;
};

GPU_LIBRARY_END
