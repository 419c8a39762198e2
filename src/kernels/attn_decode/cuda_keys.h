// SPDX-License-Identifier: Apache-2.0
// The rows of a part's keys on their way into threadgroup memory. A simdgroup takes kKeys keys at a
// time (a tile) through a ring of its own: first the units of K, then those of V, a unit being
// kUnitDim elements of each row. Nothing in the loop waits for another simdgroup.
#pragma once
#include "kernels/common/cuda_mma.h"
#include "kernels/common/gpu_attn.h"

GPU_LIBRARY_BEGIN

// Which simdgroup of its threadgroup this is, the same number for the compiler in all lanes.
GPU_FN uint warp_index() { return __shfl_sync(~0u, threadIdx.x / 32, 0); }

// Where rows lie, counted from the first row of the sequence (or cache) and KV head.
struct KeyRows {
  HeldKeys held;
  uint end;  // positions of the part are below
  uint capacity;
  const int* table;  // of the sequence
  GpuPages pages;
  uint page_rows;  // from one page to the next
  bool dense;      // every position of the part is held

  GPU_FN KeyRows(HeldKeys held_keys, uint part_end, uint slots, const int* block_table,
                 GpuPages page_layout, uint kv_heads)
      : held(held_keys),
        end(part_end),
        capacity(slots),
        table(block_table),
        pages(page_layout),
        page_rows(page_layout.size * kv_heads),
        dense(page_layout.size == 0 && (held_keys.shift == 0 || held_keys.num_valid == slots)) {}
};

// A lane's key, tile after tile.
class KeyCursor {
 public:
  GPU_FN KeyCursor(const KeyRows& rows, uint position)
      : position_(position), slot_((position + rows.held.shift) % rows.capacity) {}
  // Beyond the part's end slots mean nothing, so a step may be longer than the cache.
  GPU_FN void advance(const KeyRows& rows, uint step) {
    position_ += step;
    slot_ += step;
    if (slot_ >= rows.capacity) slot_ -= rows.capacity;
  }
  // Its row; 0 if it is not there.
  GPU_FN uint row(const KeyRows& rows, bool* there) const {
    *there = position_ < rows.end && slot_ < rows.held.num_valid;
    if (rows.pages.size == 0) return *there ? slot_ : 0;
    const uint block = *there ? uint(rows.table[slot_ >> rows.pages.shift]) : 0;
    *there = *there && block < rows.pages.count;
    return *there ? block * rows.page_rows + (slot_ & (rows.pages.size - 1)) : 0;
  }
  // Bit i: the key of lane i is there, of a tile of kKeys.
  template <int kKeys>
  GPU_FN uint there(const KeyRows& rows) const {
    if (rows.dense) {
      const uint first = __shfl_sync(~0u, position_, 0);
      return rows.end - first >= kKeys ? ~0u : (1u << (rows.end - first)) - 1u;
    }
    bool is_there;
    row(rows, &is_there);
    const uint all = __ballot_sync(~0u, is_there);
    return kKeys == 32 || all != (1u << (kKeys % 32)) - 1u ? all : ~0u;
  }

 private:
  uint position_, slot_;
};

// Units of kKeyCount rows of kUnitRowBytes out of kRowBytes. Place says where a piece of 16 bytes
// of a row goes: neither the rows of a piece nor the pieces of a row meet in a bank. Rows kPeriod
// apart have the same pattern.
template <int kKeyCount, int kRowBytes, int kUnitsOfRow, int kStageCount, class Place>
class UnitStream {
 public:
  static constexpr int kUnitBytes = kKeyCount * Place::kRowPitch;

  // k and v: the first row of the sequence and KV head. Tiles start at positions first + i step.
  GPU_FN UnitStream(const KeyRows& rows, const uchar* k, const uchar* v, uint ring, uint first,
                    uint step)
      : rows_(rows),
        cursor_(rows, first + LANE % kKeyCount),
        k_(k),
        v_(v),
        ring_(ring),
        first_(first),
        step_(step) {
    find_rows();
#pragma unroll 1
    for (int i = 0; i < kStageCount; i++) request();
  }
  // The address of the oldest unit, which has arrived.
  GPU_FN uint wait() const {
    wait_copies<kStageCount - 1>();
    __syncwarp();
    return ring_ + place_;
  }
  // All lanes have read it.
  GPU_FN void next() {
    __syncwarp();
    request();
  }

 private:
  static constexpr int kUnitRowBytes = kRowBytes / kUnitsOfRow;
  static constexpr int kPieces = kUnitRowBytes / 16, kCopies = kKeyCount * kPieces / 32;
  static_assert(kKeyCount * kPieces % 32 == 0, "every lane has the same work");

  GPU_FN void find_rows() {
    bool there;
    row_ = cursor_.row(rows_, &there);
    there_ = __ballot_sync(~0u, there);
    const uint first_row = __shfl_sync(~0u, row_, 0);
    in_order_ = __all_sync(~0u, there && row_ == first_row + LANE % kKeyCount);
    offset_ = ulong(first_row + LANE / kPieces) * kRowBytes + 16 * (LANE % kPieces);
  }
  // Starts the copy of the next unit to where the oldest one was.
  GPU_FN void request() {
    if (first_ < rows_.end) {
      const bool is_k = unit_ < kUnitsOfRow;
      const uchar* const from =
          (is_k ? k_ : v_) + (is_k ? unit_ : unit_ - kUnitsOfRow) * kUnitRowBytes;
      const uint to = ring_ + place_;
      if (in_order_ && 32 % kPieces == 0) {
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
      if (++unit_ == 2 * kUnitsOfRow) {
        unit_ = 0;
        first_ += step_;
        cursor_.advance(rows_, step_);
        find_rows();
      }
    }
    close_copies();
    place_ = place_ + kUnitBytes == kStageCount * kUnitBytes ? 0 : place_ + kUnitBytes;
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
  KeyCursor cursor_;
  const uchar *k_, *v_;
  uint ring_;
  uint first_, step_;  // of the tile to ask for
  uint unit_ = 0;
  uint row_ = 0, there_ = 0;  // of its key LANE % kKeyCount; of all
  bool in_order_ = false;     // all are there, one row after the other
  ulong offset_ = 0;          // then of this lane's first piece
  uint place_ = 0;            // of the oldest unit and of the next one asked for
};

GPU_LIBRARY_END
