// SPDX-License-Identifier: Apache-2.0
// The tiles of attn_prefill in threadgroup memory and how they get there.
#pragma once
#include "kernels/attn_prefill/gpu_keys.h"
#include "kernels/common/cuda_mma.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

// kShares simdgroups have the same rows. One alone multiplies queries, keys and values of a tile in
// turn while the next tile is copied. Of several, each scores its share of the keys, gives the
// weights to the others and adds up its share of the elements of V; K of the next tile is copied
// while weights meet V, and V while queries meet K.
template <int kHeadDim, int kTermCount, int kWarpCount, int kRowTileCount, int kShareCount,
          int kKeyCount, int kGroupCount>
struct Shape {
  static constexpr int kDim = kHeadDim, kTerms = kTermCount, kWarps = kWarpCount;
  static constexpr int kShares = kShareCount, kKeys = kKeyCount;
  static constexpr int kGroups = kGroupCount;  // threadgroups of a core, of plain launches
  static constexpr int kRowTiles = kRowTileCount, kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps / kShares * kWarpRows, kThreads = 32 * kWarps;
  static constexpr int kShareDim = kDim / kShares;  // of the output of a simdgroup
  static constexpr int kPitch = 2 * kDim + 16;      // of rows: eight of them in different banks
  static constexpr int kPieces = kDim / 8;          // of 16 bytes, of a row
  static constexpr int kTileBytes = kKeys * kPitch;
  static constexpr int kQueryBytes = kTerms * kRows * kPitch;
  static constexpr int kStages = kShares > 1 ? 1 : 2, kStageBytes = 2 * kTileBytes;
  static constexpr int kOwnKeys = kKeys / kShares;
  static constexpr int kWeightPitch = 2 * kKeys + 16;
  static constexpr int kNorms = 0;  // of a row of codes: attn_prefill_tq/cuda_codes.h
  static_assert(kRows <= kThreads);
};

// Rows of floats are used as they are.
struct FloatRows {
  GPU_FN void rotate(float*) const {}
};

// The queries of a threadgroup as they are, rows that are not there as zeros.
template <class S>
GPU_FN void copy_queries(uint to, const uchar* q, ulong first_row, uint row_stride, uint rows) {
  UNROLL for (uint i = threadIdx.x; i < S::kRows * S::kPieces; i += S::kThreads) {
    const uint r = i / S::kPieces, piece = i % S::kPieces;
    const ulong row = first_row + ulong(r < rows ? r : 0) * row_stride;
    copy_ahead(to + r * S::kPitch + 16 * piece, q + 2 * row + 16 * piece, r < rows);
  }
}

// The queries of a simdgroup as terms in threadgroup memory, [term][row]. An f32 row is scaled by a
// power of two to at most 2^14, so that its last term is a normal f16; undo[row] takes it back. A
// row below 2^-64 counts as one of that size.
template <typename T, class S, class Source>
GPU_FN void put_queries(const uchar* q, ulong first_row, uint row_stride, uint rows,
                        const GpuAttnPrefill& p, uint warp_row, uint share, uchar* terms,
                        float* undo, const Source& source) {
  constexpr uint kTop = 127 + 13, kLeast = 127 - 64;
#pragma unroll 2
  for (uint r = share; r < S::kWarpRows; r += S::kShares) {
    float x[kRowElements];
    load_query<32>(q, first_row + ulong(r < rows ? r : 0) * row_stride, p.query_type,
                   r < rows ? S::kDim : 0, LANE, true, x);
    source.rotate(x);
    float largest = 0.0f;
    UNROLL for (int i = 0; i < kRowElements; i++) largest = fmaxf(largest, fabsf(x[i]));
    const uint exponent = max(__reduce_max_sync(~0u, __float_as_uint(largest)) >> 23, kLeast);
    const float scale = __uint_as_float((kTop + 127 - exponent) << 23);
    if (LANE == 0) undo[warp_row + r] = __uint_as_float((exponent + 127 - kTop) << 23);
    UNROLL for (int run = 0; run < 2; run++) {
      const uint at = 8 * (run * 32 + LANE);
      if (at >= S::kDim) continue;
      float rest[8];
      UNROLL for (int i = 0; i < 8; i++) rest[i] = x[8 * run + i] * scale;
      UNROLL for (int term = 0; term < S::kTerms; term++) {
        uint pair[4];
        UNROLL for (int i = 0; i < 4; i++) {
          pair[i] = pack2(rest[2 * i], rest[2 * i + 1], T());
          const float2 taken = unpack2(pair[i], T());
          rest[2 * i] -= taken.x;
          rest[2 * i + 1] -= taken.y;
        }
        *reinterpret_cast<uint4*>(terms + (term * S::kRows + warp_row + r) * S::kPitch + 2 * at) =
            make_uint4(pair[0], pair[1], pair[2], pair[3]);
      }
    }
  }
}

// Where the keys of a sequence lie. kPlain: in one piece of at least a tile, each in its slot.
template <bool kPlain>
struct KeyPlaces {
  HeldKeys held;
  uint capacity;
  const int* table;  // of the sequence, or null
  GpuPages pages;

  GPU_FN uint slot_of(uint position) const {
    const uint at = position + held.shift;
    return at < capacity ? at : at % capacity;
  }
  // Keys first .. first + count are there, one row after the other.
  GPU_FN bool in_order(uint first, uint count) const {
    return kPlain && first >= held.first && first + count <= held.end &&
           slot_of(first) + count <= capacity;
  }
  // The page and the slot of a key of the tile from `first` on; false if it is not there.
  GPU_FN bool find(uint first, uint key, uint* block, uint* slot) const {
    uint at = slot_of(first) + key;
    if constexpr (kPlain) {
      if (at >= capacity) at -= capacity;
    } else {
      at %= capacity;
    }
    *block = 0;
    *slot = at;
    bool there = first + key >= held.first && first + key < held.end;
    if constexpr (!kPlain) {
      there = there && at < held.num_valid;
      if (pages.size > 0 && there) {
        *block = uint(table[at >> pages.shift]);
        *slot = at & (pages.size - 1);
        there = *block < pages.count;
      }
    }
    return there;
  }
};

// Starts the copies of a tile's rows of K or V; keys that are not there are zeros. row, page:
// elements from a row or page to the next.
template <class S, bool kPlain>
GPU_FN void copy_tile(uint to, const uchar* rows, uint row, uint page, uint first,
                      const KeyPlaces<kPlain>& places) {
  const uint first_slot = places.slot_of(first);
  // Most tiles are rows in order.
  if (S::kThreads % S::kPieces == 0 && places.in_order(first, S::kKeys)) {
    constexpr uint kStep = S::kThreads / S::kPieces;
    const uint key = threadIdx.x / S::kPieces, piece = threadIdx.x % S::kPieces;
    const uint place = to + key * S::kPitch + 16 * piece;
    const uchar* const from = rows + 2 * ulong(first_slot + key) * row + 16 * piece;
    UNROLL for (uint i = 0; i < S::kKeys / kStep; i++) {
      copy_ahead(place + i * kStep * S::kPitch, from + ulong(i) * (2 * kStep * row));
    }
    return;
  }
#pragma unroll 2
  for (uint i = threadIdx.x; i < S::kKeys * S::kPieces; i += S::kThreads) {
    const uint key = i / S::kPieces, piece = i % S::kPieces;
    uint block, slot;
    const bool there = places.find(first, key, &block, &slot);
    ulong at = ulong(there ? slot : 0) * row;
    if constexpr (!kPlain) at += ulong(there ? block : 0) * page;
    copy_ahead(to + key * S::kPitch + 16 * piece, rows + 2 * at + 16 * piece, there);
  }
}

// What carries from an exponent of ones into the place of the sign, for two elements.
GPU_FN constexpr uint carry_of(half) { return 0x04000400; }
GPU_FN constexpr uint carry_of(bfloat) { return 0x00800080; }

// Zeros for the elements of a tile that are not finite; true for all threads if there were any. A
// barrier.
template <typename T, class S>
GPU_FN bool clear_nonfinite(uint tile) {
  const uint carry = carry_of(T());
  bool found = false;
#pragma unroll 1
  for (uint i = threadIdx.x; i < S::kKeys * S::kPieces; i += S::kThreads) {
    const uint at = tile + i / S::kPieces * S::kPitch + i % S::kPieces * 16;
    uint w[4], carried = 0;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(at)
                 : "memory");
    UNROLL for (int j = 0; j < 4; j++) carried |= (w[j] & 0x7fff7fff) + carry;
    if ((carried & 0x80008000) == 0) continue;
    found = true;
    UNROLL for (int j = 0; j < 4; j++) {
      w[j] &= ~(((w[j] & 0x7fff7fff) + carry >> 15 & 0x00010001) * 0xffff);
    }
    asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(w[0]), "r"(w[1]), "r"(w[2]),
                 "r"(w[3])
                 : "memory");
  }
  return __syncthreads_or(found) != 0;
}

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
