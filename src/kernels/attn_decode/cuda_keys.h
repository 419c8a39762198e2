// SPDX-License-Identifier: Apache-2.0
// The rows of a part's keys on their way into threadgroup memory. A simdgroup takes kKeys keys at a
// time (a tile) through a ring of its own: first the units of K, then those of V, a unit being
// kUnitDim elements of each row. Nothing in the loop waits for another simdgroup.
#pragma once
#include "kernels/common/cuda_mma.h"
#include "kernels/common/gpu_attn.h"

GPU_LIBRARY_BEGIN

enum { kTileKeys = 32 };  // of the kernels over codes

// Which simdgroup of its threadgroup this is, the same number for the compiler in all lanes.
GPU_FN uint warp_index() { return __shfl_sync(~0u, threadIdx.x / 32, 0); }

// Behind the parameters of a lambda: what GPU_FN is to a function.
#define INLINED __attribute__((always_inline))

// unit(index) for kCount indices from kFirst on, each a constant.
template <int kIndex>
struct UnitIndex {
  static constexpr int kValue = kIndex;
};
template <int kFirst, int kCount, class Unit>
GPU_FN void each_unit(const Unit& unit) {
  if constexpr (kCount > 0) {
    unit(UnitIndex<kFirst>{});
    each_unit<kFirst + 1, kCount - 1>(unit);
  }
}

// Where the rows of a part's positions lie, counted from the first row of the sequence (or cache)
// and KV head.
struct KeyRows {
  HeldKeys held;
  uint end;  // positions of the part are below
  uint capacity;
  const int* table;  // of the sequence
  GpuPages pages;
  uint page_rows;  // from one page to the next
  bool straight;   // all are held, one row after the other
  uint to_row;     // then row less position
  uint whole_end;  // kTileKeys positions from one below it on are there, one row after the other

  GPU_FN KeyRows(HeldKeys held_keys, uint begin, uint part_end, uint slots, const int* block_table,
                 GpuPages page_layout, uint kv_heads)
      : held(held_keys),
        end(part_end),
        capacity(slots),
        table(block_table),
        pages(page_layout),
        page_rows(page_layout.size * kv_heads) {
    const uint slot = (begin + held.shift) % capacity;
    to_row = slot - begin;
    straight = pages.size == 0 && (held.shift == 0 || held.num_valid == capacity) &&
               capacity - slot >= end - begin;
    whole_end = straight && end >= kTileKeys ? end - (kTileKeys - 1) : 0;
  }
  // As is known of a cache that is neither a ring nor paged and begins with its first slot.
  GPU_FN void be_straight() {
    straight = true;
    to_row = 0;
    whole_end = end >= kTileKeys ? end - (kTileKeys - 1) : 0;
  }
  // The row of a position; 0 if it is not there.
  GPU_FN uint row(uint position, bool* there) const {
    *there = position < end;
    if (straight) return *there ? position + to_row : 0;
    const uint slot = (position + held.shift) % capacity;
    *there = *there && slot < held.num_valid;
    if (pages.size == 0) return *there ? slot : 0;
    const uint block = *there ? uint(table[slot >> pages.shift]) : 0;
    *there = *there && block < pages.count;
    return *there ? block * page_rows + (slot & (pages.size - 1)) : 0;
  }
  // Bit i: position first + i is there, i < kKeys; all bits if all are.
  template <int kKeys>
  GPU_FN uint there(uint first) const {
    if (straight) return end - first >= kKeys ? ~0u : (1u << (end - first)) - 1u;
    bool is_there;
    row(first + LANE % kKeys, &is_there);
    const uint all = __ballot_sync(~0u, is_there);
    return __all_sync(~0u, is_there) ? ~0u : all;
  }
};

#if __CUDA_ARCH__ >= 900
// From the L2 cache: nothing stays that a later read would find.
GPU_FN int read_now(const int* p) {
  int v;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
// What a place holds before inputs are awaited, which may not be what counts.
GPU_FN int early_value(const int* p) { return read_now(p); }
// Asks the L2 cache for bytes that begin and end at multiples of 16, or nearly so.
GPU_FN void prefetch_bytes(const void* p, uint bytes) {
  const ulong address = reinterpret_cast<ulong>(p), first = address / 16 * 16;
  const uint size = (uint(address - first) + bytes) / 16 * 16;
  if (size > 0) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(first), "r"(size) : "memory");
  }
}
#else
GPU_FN int early_value(const int* p) { return *p; }
#endif

// Asks for what a part reads first, while the kernels in front of it still run; by one thread, of
// caches that are not paged. Parts of later sequences start when no kernel is waited for, and so do
// all parts on older GPUs. Lengths are taken as they are now, which may be older than those that
// count: they say what is asked for, never what is read.
//   kv_row: KV head, counted over the batch   norms: of a row of codes, beside it
//   some, most: bytes of K, or of V if its rows are longer: half of the part, within these
template <class Args>
GPU_FN void prefetch_part(uint b, ulong kv_row, const uchar* k, const uchar* v, uint k_row_bytes,
                          uint v_row_bytes, const float* k_norms, const float* v_norms, uint norms,
                          const int* kv_len, const int* ring_start, const Args& p,
                          uint some = 32 << 10, uint most = 32 << 10) {
#if __CUDA_ARCH__ >= 900
  if (b > 0 || p.pages.size > 0) return;
  const int start = p.ring_start != 0 ? read_now(ring_start + b) : 0;
  const HeldKeys held = held_keys(read_now(kv_len + b), start, p.ring != 0, p.capacity);
  const VisibleKeys keys = visible_keys(held, p.window_size, p.chunk_size, p.n_split, p.parts);
  const uint begin = keys.first + blockIdx.x * keys.keys_each;
  const uint end = min(begin + keys.keys_each, keys.end);
  if (begin >= end) return;
  const uint slot = (begin + held.shift) % p.capacity;
  const uint row_bytes = max(k_row_bytes, v_row_bytes), half = (end - begin) / 2;
  const uint rows =
      min(min(end - begin, p.capacity - slot), min(max(some / row_bytes, half), most / row_bytes));
  const ulong at = kv_row * p.capacity + slot;
  prefetch_bytes(k + at * k_row_bytes, rows * k_row_bytes);
  prefetch_bytes(v + at * v_row_bytes, rows * v_row_bytes);
  if (norms == 0) return;
  prefetch_bytes(k_norms + at * norms, rows * norms * 4);
  prefetch_bytes(v_norms + at * norms, rows * norms * 4);
#endif
}

// The slots of a simdgroup's ring: the oldest one is read, then filled again.
template <int kSlotBytes, int kSlotCount>
class CopyRing {
 public:
  static constexpr int kBytes = kSlotCount * kSlotBytes;

  // The address of the oldest unit, which has arrived.
  GPU_FN uint wait() const {
    wait_copies<kSlotCount - 1>();
    __syncwarp();
    return slot();
  }

 protected:
  GPU_FN explicit CopyRing(uint ring) : ring_(ring) {}
  // Slots begin so many bytes later; a unit ends as much before the slot does.
  GPU_FN void shift(uint bytes) { ring_ += bytes; }
  GPU_FN uint slot() const { return ring_ + place_; }
  // What has been asked for since the last call is what the oldest slot waits for.
  GPU_FN void close_slot() {
    close_copies();
    place_ = place_ + kSlotBytes == kBytes ? 0 : place_ + kSlotBytes;
  }

 private:
  uint ring_;
  uint place_ = 0;
};

// Units of kKeyCount rows of kUnitRowBytes out of kRowBytes. Place says where a piece of 16 bytes
// of a row goes: neither the rows of a piece nor the pieces of a row meet in a bank. Rows kPeriod
// apart have the same pattern.
template <int kKeyCount, int kRowBytes, int kUnitsOfRow, int kStageCount, class Place>
class UnitStream : public CopyRing<kKeyCount * Place::kRowPitch, kStageCount> {
 public:
  // k and v: the first row of the sequence and KV head. Tiles start at positions first + i step.
  GPU_FN UnitStream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                    uint step)
      : Ring(ring), rows_(rows), k_(k), v_(v), first_(first), step_(step) {
    find_rows();
#pragma unroll 1
    for (int i = 0; i < kStageCount; i++) request(i % kTileUnits);
  }
  // All lanes have read it; it was unit `unit` of its tile, those of V counted after those of K.
  GPU_FN void next(int unit) {
    __syncwarp();
    request((unit + kStageCount) % kTileUnits);
  }

 private:
  typedef CopyRing<kKeyCount * Place::kRowPitch, kStageCount> Ring;
  static constexpr int kTileUnits = 2 * kUnitsOfRow, kUnitRowBytes = kRowBytes / kUnitsOfRow;
  static constexpr int kPieces = kUnitRowBytes / 16, kCopies = kKeyCount * kPieces / 32;
  static_assert(kKeyCount * kPieces % 32 == 0, "every lane has the same work");
  static constexpr bool kWholeRows = 32 % kPieces == 0;  // a copy of all lanes is of whole rows

  GPU_FN void find_rows() {
    uint first_row = first_ + rows_.to_row;
    in_order_ = kWholeRows && rows_.straight && rows_.end - first_ >= kKeyCount;
    if (!in_order_) {
      bool there;
      row_ = rows_.row(first_ + LANE % kKeyCount, &there);
      there_ = __ballot_sync(~0u, there);
      first_row = __shfl_sync(~0u, row_, 0);
      in_order_ = kWholeRows && __all_sync(~0u, there && row_ == first_row + LANE % kKeyCount);
    }
    offset_ = ulong(first_row + LANE / kPieces) * kRowBytes + 16 * (LANE % kPieces);
  }
  // Starts the copy of the next unit, number `unit` of its tile, to where the oldest one was.
  GPU_FN void request(int unit) {
    if (first_ < rows_.end) {
      const uchar* const from = (unit < kUnitsOfRow ? k_ : v_) + unit % kUnitsOfRow * kUnitRowBytes;
      const uint to = this->slot();
      if (in_order_) {
        UNROLL for (int i = 0; i < kCopies; i++) {
          copy_ahead(to + place_of(i), from + offset_ + i * (32 / kPieces) * kRowBytes);
        }
      } else {
#pragma unroll 1
        for (int i = 0; i < kCopies; i++) {
          const uint at = 32 * i + LANE, row = at / kPieces, piece = at % kPieces;
          const uint source = __shfl_sync(~0u, row_, row);
          copy_ahead(to + place_of(i), from + ulong(source) * kRowBytes + 16 * piece,
                     (there_ >> row & 1) != 0);
        }
      }
      if (unit == kTileUnits - 1) {
        first_ += step_;
        if (first_ < rows_.end) find_rows();
      }
    }
    this->close_slot();
  }
  // Of copy i of a unit.
  GPU_FN static uint place_of(int i) {
    if constexpr (32 % (kPieces * Place::kPeriod) == 0) {
      return Place::at(LANE / kPieces, LANE % kPieces) + i * (32 / kPieces) * Place::kRowPitch;
    } else {
      return Place::at((32 * i + LANE) / kPieces, (32 * i + LANE) % kPieces);
    }
  }

  const KeyRows& rows_;
  const uchar *k_, *v_;
  uint first_, step_;         // of the tile to ask for
  uint row_ = 0, there_ = 0;  // of its key LANE % kKeyCount; of all. Not if in_order_
  bool in_order_ = false;     // all are there, one row after the other, and copies of whole rows
  ulong offset_ = 0;          // then of this lane's first piece
};

GPU_LIBRARY_END
