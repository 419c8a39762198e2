// SPDX-License-Identifier: Apache-2.0
// Codes on their way into threadgroup memory: tiles of 32 keys, whole rows of K in one ring of
// slots and of V in another, so that K is asked for again while V is still read. From sm_90 on the
// copies are bulk copies, of which a barrier in threadgroup memory counts the bytes; in PTX for
// older ones lanes copy 16 bytes at a time and the barrier counts lanes. (A GPU of sm_80 itself has
// no room for the rings; its launches take the shared text.)
//
// Rows 2t and 2t + 1 of half m of the k-th 16 keys of a product are
//   of rows of whole 128 bytes, which have all banks, keys 4t + i and 16 + 4t + i, with i = 2k + m
//   of others keys 8t + i and the first one that lies an odd multiple of 64 bytes behind it; i has
//   the bits that this leaves
// Of 128 elements of K lane 4g + t reads 16 bytes t of the key of row g, of 128 of V 8 bytes g of
// the keys of rows 2t and 2t + 1; of 64 and 32 elements a half and a fourth of that. Lanes that
// read together meet in no bank (but in two, in the last 32 of 96 elements of K), since there are
// gaps:
//   in V of 32 bytes behind the rows that two lanes t differ by
//   in K the same, but of 64 behind 16 rows of whole 128 bytes, and none where rows have 64
#pragma once
#include "kernels/attn_decode/cuda_keys.h"

GPU_LIBRARY_BEGIN

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define MLXN_BULK_TILES 1
#else
#define MLXN_BULK_TILES 0
#endif

// The key of a tile that is row g or g + 8 of a product over 16 of its keys.
template <int kRowBytes>
struct TileOrder {
  static constexpr bool kLong = kRowBytes % 128 == 0;
  // From row 2t to row 2t + 1, and from t to t + 1.
  static constexpr int kOdd = kLong ? 16 : 64 / (kRowBytes & -kRowBytes);
  static constexpr int kOfLane = kLong ? 4 : 8;
  static constexpr int kOfHalf = kOdd == 1 ? 2 : 1, kOf16 = kLong ? 2 : 8 / kOdd / kOfHalf;

  GPU_FN static constexpr uint first(uint t) { return t * kOfLane; }  // row 2t of k = m = 0
  GPU_FN static constexpr int more(int k, int m) { return k * kOf16 + m * kOfHalf; }
  GPU_FN static uint key(int k, int m) {
    return first(LANE / 8) + LANE / 4 % 2 * kOdd + more(k, m);
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
  // Asks for a first tile. By one simdgroup; another one that shares the ring must not wait before
  // it has met this one.
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
    request();
  }
  // The other slots.
  GPU_FN void fill() {
#pragma unroll 1
    for (int i = 1; i < kSlots; i++) request();
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
    const uint to = ring_ + to_fill_ * kSlotBytes, barrier = barriers_ + 8 * to_fill_;
    if (MLXN_BULK_TILES != 0 && first_ < rows_.whole_end) {
      copy_in_order(first_ + rows_.to_row, to, barrier);
    } else if (first_ < rows_.end) {
      copy(to, barrier);
    }
    first_ += step_;
    to_fill_ = to_fill_ + 1 == kSlots ? 0 : to_fill_ + 1;
  }

 private:
  // kTileKeys rows from `row` on.
  GPU_FN void copy_in_order(uint row, uint to, uint barrier) const {
#if MLXN_BULK_TILES
    if (!elect()) return;
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier),
                 "n"(kTileKeys * kRowBytes)
                 : "memory");
    const uchar* const source = from_ + ulong(row) * kRowBytes;
    UNROLL for (int i = 0; i < kGroups; i++) {
      bulk_copy(to + i * kGroupBytes, source + i * kGroupRows * kRowBytes, kGroupRows * kRowBytes,
                barrier);
    }
#endif
  }
  // The tile at first_. Rows that are not there leave what the slot had.
  GPU_FN void copy(uint to, uint barrier) const {
    bool there;
    const uint row = rows_.row(first_ + LANE, &there), all = __ballot_sync(~0u, there);
#if MLXN_BULK_TILES
    const uint first_row = __shfl_sync(~0u, row, 0);
    if (!rows_.straight && __all_sync(~0u, there && row == first_row + LANE)) {
      return copy_in_order(first_row, to, barrier);
    }
    if (elect()) {
      asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier),
                   "r"(__popc(all) * kRowBytes)
                   : "memory");
    }
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

// The norms of a simdgroup's tiles, kSlotCount tiles ahead: memory that is busy takes longer to
// answer than a tile takes. kNorms: of a row; those of K are of one share of the row.
template <int kNorms, int kSlotCount>
class NormRing {
 public:
  struct Key {
    float k, v_first, v_last;

    GPU_FN float v(uint share) const { return kNorms == 1 || share == 0 ? v_first : v_last; }
    GPU_FN float largest_v() const {
      return kNorms == 1 ? v_first : fmaxf(fabsf(v_first), fabsf(v_last));
    }
  };
  static constexpr int kSlots = kSlotCount, kKeyBytes = kNorms == 1 ? 8 : 16;
  static constexpr int kSlotBytes = kTileKeys * kKeyBytes, kBytes = kSlots * kSlotBytes;

  // k: that of the share in row 0. Tiles start at positions first + i step. ring: address of
  // kBytes, aligned to 16.
  GPU_FN NormRing(const KeyRows& rows, const float* k, const float* v, uint ring, uint first,
                  uint step)
      : rows_(rows), k_(k), v_(v), ring_(ring), first_(first), step_(step) {
#pragma unroll 1
    for (int i = 0; i < kSlots; i++) request();
  }
  // Until those of the next tile are there.
  GPU_FN void wait() const {
    wait_copies<kSlots - 1>();
    __syncwarp();
  }
  // Of a key of that tile; 0 if it is not there.
  GPU_FN Key of(uint key) const {
    const uint at = ring_ + place_ + key * kKeyBytes;
    float k, x, y = 0.0f;
    if constexpr (kNorms == 1) {
      asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(k), "=f"(x) : "r"(at) : "memory");
    } else {
      asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(x), "=f"(y) : "r"(at) : "memory");
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(k) : "r"(at + 8) : "memory");
    }
    return {k, x, y};
  }
  // Asks for those of a tile more in the place of that tile, which all lanes have read.
  GPU_FN void request() {
    bool there = true;
    uint row = first_ + LANE + rows_.to_row;
    if (first_ >= rows_.whole_end) row = rows_.row(first_ + LANE, &there);
    const uint to = ring_ + place_ + LANE * kKeyBytes;
    const float* const v = v_ + ulong(row) * kNorms;
    copy_word_ahead(to + (kNorms == 1 ? 0 : 8), k_ + ulong(row) * kNorms, there);
    UNROLL for (int n = 0; n < kNorms; n++) {
      copy_word_ahead(to + (kNorms == 1 ? 4 : 4 * n), v + n, there);
    }
    close_copies();
    place_ = place_ + kSlotBytes == kBytes ? 0 : place_ + kSlotBytes;
    first_ += step_;
  }

 private:
  const KeyRows& rows_;
  const float *k_, *v_;
  uint ring_, place_ = 0;
  uint first_, step_;  // of the tile to ask for
};

GPU_LIBRARY_END
