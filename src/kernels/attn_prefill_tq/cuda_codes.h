// SPDX-License-Identifier: Apache-2.0
// attn_prefill_tq on matrix units: attn_prefill/cuda_tile.h over tiles of f16 levels, which all
// threads make of a tile's codes by the tables of attn_decode_tq/cuda_levels.h. Norms go to scores
// and weights, so that levels are exact. Rows of queries and outputs are rotated one by one.
// Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_decode_tq/cuda_codes.h"
#include "kernels/attn_decode_tq/cuda_levels.h"
#include "kernels/attn_prefill/cuda_tile.h"
#include "kernels/attn_prefill_tq/gpu_args.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_tq_mma {

using kernels_attn_decode_tq_levels::LaneTable;

// Threadgroup memory: queries, tiles of K and V, tables of K and, if another, of V, codes of both.
template <int kHeadDim, int kShareCount, int kKeyCount, int kGroupCount>
struct Shape
    : kernels_attn_prefill_mma::Shape<kHeadDim, 2, 8, 1, kShareCount, kKeyCount, kGroupCount> {
  static constexpr int kNorms = kHeadDim == 512 ? 2 : 1, kOwnKeys = kKeyCount;
};

// Rows of codes in threadgroup memory: neither whole banks nor half of them from row to row.
GPU_FN constexpr uint pitch_of(uint row_bytes) { return ((row_bytes + 15) / 16 | 1) * 16; }

// kPairs: tables are of two codes.
template <int kDim, int kCodeBits, bool kPairs>
struct Codes {
  static constexpr int kBits = kCodeBits, kTogether = kPairs ? 2 : 1;
  static constexpr bool kPacked = false;
  static constexpr int kUnitRowBytes = kDim * kBits / 8;
  static constexpr int kTableBytes =
      (1 << (kBits * kTogether)) * kernels_attn_decode_tq_levels::kTableStride;
  struct Place {
    GPU_FN static uint at(uint row, uint piece) {
      return row * pitch_of(kDim * kBits / 8) + 16 * piece;
    }
  };
};
// use(Codes) of a width. Codes of 4 bits have small tables if there are two of them.
template <int kDim, class Use>
GPU_FN void with_codes(uint bits, bool one_table, const Use& use) {
  each_unit<2, 7>([&](auto width) {
    constexpr int kBits = decltype(width)::kValue;
    if constexpr (kBits != 7) {
      if (bits != kBits) return;
      if (kBits == 4 && !one_table) return use(Codes<kDim, kBits, false>());
      use(Codes<kDim, kBits, kBits <= 4>());
    }
  });
}

// kBytes bytes as copy_ahead() of 16.
template <int kBytes>
GPU_FN void copy_few(uint to, const void* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(kBytes),
               "r"(there ? kBytes : 0)
               : "memory");
}

template <class S>
class CodedRows {
 public:
  // tables: in threadgroup memory.
  GPU_FN CodedRows(const uchar* k, const float* k_norms, const uchar* v, const float* v_norms,
                   uint4* tables, float* norms, const GpuAttnPrefillTq& p)
      : p_(p), k_(k), v_(v), k_norms_(k_norms), v_norms_(v_norms), norms_(norms) {
    k_table_ = shared_address(tables);
    v_table_ = k_table_ + (p.v_table > 0 ? p.k_table : 0);
    codes_ = k_table_ + p.k_table + p.v_table;
    put_table(p.k, p.k_unit, tables);
    if (p.v_table > 0) put_table(p.v, p.v_unit, tables + p.k_table / 16);
  }
  GPU_FN const float* norms(uint stage) const { return norms_ + stage * kStageNorms; }
  GPU_FN static float* row(uchar* memory, uint r) {
    return reinterpret_cast<float*>(memory) + r * (S::kDim + 8);
  }
  GPU_FN void rotate(float* x) const {
    if (p_.rotated != 0) return;
    Signs(p_.k.signs, p_.k.dim).apply(x);
    fwht_row<S::kDim>(x);
  }
  // Start the copies of a tile's codes, with those of K of all norms; norms of keys that are not
  // there are zeros. Nothing is there from `end` on.
  template <class Places>
  GPU_FN void copy_k(ulong head_row, uint first, uint end, const Places& places) const {
    if (first >= end) return;
    copy_codes(codes_, k_, p_.k, head_row, first, places);
    if (threadIdx.x >= kNormCount) return;
    const uint norm = threadIdx.x / S::kKeys;
    bool there;
    const ulong row = find_row(head_row, first, threadIdx.x % S::kKeys, places, &there);
    copy_few<4>(shared_address(raw_norm()),
                (norm < S::kNorms ? k_norms_ : v_norms_) + row * S::kNorms + norm % S::kNorms,
                there);
  }
  template <class Places>
  GPU_FN void copy_v(ulong head_row, uint first, uint end, const Places& places) const {
    if (first < end) copy_codes(v_codes(), v_, p_.v, head_row, first, places);
  }
  // Codes become a tile of levels, and norms factors.
  GPU_FN void decode_v(uint tile) const { decode(p_.v, v_codes(), v_table_, tile); }
  GPU_FN void decode_k(uint tile, uint stage) const {
    decode(p_.k, codes_, k_table_, tile);
    if (threadIdx.x >= kNormCount) return;
    const bool of_k = threadIdx.x < kNormCount / 2;
    const float norm = *raw_norm() * (of_k ? p_.k_unit * norm_scale<S::kDim>(p_.k)
                                           : p_.v_unit * norm_scale<S::kDim>(p_.v));
    float* const to = norms_ + stage * kStageNorms + threadIdx.x;
    *to = norm;
    // Of norms next to nothing a weight may be as large as an f32, but no larger.
    const int exponent = int(__float_as_uint(fabsf(norm)) >> 23) - 126;
    if (!of_k) to[kNormCount / 2] = float(max(exponent, -46));
  }
  // Rows of row().
  GPU_FN void store_rows(uchar* memory, uchar* out, ulong out_row, uint rows) const {
#pragma unroll 1
    for (uint r = warp_index(); r < rows; r += S::kWarps) {
      float x[kRowElements];
      UNROLL for (int i = 0; i < kRowElements; i++) {
        const uint at = 8 * (i / 8 * 32 + LANE) + i % 8;
        x[i] = at < S::kDim ? row(memory, r)[at] : 0.0f;
      }
      if (p_.rotated == 0) {
        fwht_row<S::kDim>(x);
        Signs(p_.v.signs, p_.v.dim).apply(x);
      }
      UNROLL for (int i = 0; i < kRowElements; i++) x[i] += 0.0f;  // 0, not -0
      UNROLL for (int run = 0; run < 2; run++) {
        store_outputs(out, out_row + ulong(r) * p_.attn.out.row, p_.attn.query_type, S::kDim,
                      8 * (run * 32 + LANE), p_.attn.vectors != 0, true, x + 8 * run);
      }
    }
  }

 private:
  typedef LaneSigns<S::kDim == 512 ? 2 : 1> Signs;
  static constexpr int kNormCount = 2 * S::kNorms * S::kKeys;  // [K's, V's][key]
  static constexpr int kStageNorms = 3 * kNormCount / 2;       // with the exponents of V's

  GPU_FN bool one_table() const { return p_.v_table == 0; }
  GPU_FN uint v_codes() const { return codes_ + S::kKeys * pitch_of(p_.k.row_bytes); }
  GPU_FN float* raw_norm() const { return norms_ + 2 * kStageNorms + threadIdx.x; }

  // head_row: the first of the sequence (or cache) and KV head.
  template <class Places>
  GPU_FN ulong find_row(ulong head_row, uint first, uint key, const Places& places,
                        bool* there) const {
    uint block, slot;
    *there = places.find(first, key, &block, &slot);
    return head_row + (*there ? ulong(block) * p_.attn.k.batch + slot : 0);
  }
  template <class Places>
  GPU_FN void copy_codes(uint to, const uchar* from, const GpuTqTable& t, ulong head_row,
                         uint first, const Places& places) const {
    if (places.in_order(first, S::kKeys)) {
      from += (head_row + places.slot_of(first)) * t.row_bytes;
      return with_codes<S::kDim>(t.code_bits, true, [&](auto codes) {
        constexpr uint kRowBytes = S::kDim * decltype(codes)::kBits / 8;
        constexpr uint kBytes = kRowBytes % 16 == 0 ? 16 : 8, kPieces = kRowBytes / kBytes;
        UNROLL for (uint begin = 0; begin < S::kKeys * kPieces; begin += S::kThreads) {
          const uint i = begin + threadIdx.x;
          if (begin + S::kThreads > S::kKeys * kPieces && i >= S::kKeys * kPieces) return;
          copy_few<kBytes>(to + i / kPieces * pitch_of(kRowBytes) + i % kPieces * kBytes,
                           from + i * kBytes, true);
        }
      });
    }
    // Eight threads copy a row, eight bytes at a time.
#pragma unroll 1
    for (uint key = threadIdx.x / 8; key < S::kKeys; key += S::kThreads / 8) {
      bool there;
      const ulong row = find_row(head_row, first, key, places, &there);
#pragma unroll 1
      for (uint at = threadIdx.x % 8 * 8; at < t.row_bytes; at += 64) {
        copy_few<8>(to + key * pitch_of(t.row_bytes) + at, from + row * t.row_bytes + at, true);
      }
    }
  }
  GPU_FN void put_table(const GpuTqTable& t, float unit, uint4* table) const {
    with_codes<S::kDim>(t.code_bits, one_table(), [&](auto codes) {
      kernels_attn_decode_tq_levels::put_table<decltype(codes)>(t, 1.0f / unit, table);
    });
  }
  // A thread turns 32 codes at a time, neighbours those of different rows.
  GPU_FN void decode(const GpuTqTable& t, uint codes, uint table, uint tile) const {
    with_codes<S::kDim>(t.code_bits, one_table(), [&](auto coded) {
      typedef decltype(coded) C;
      const LaneTable lane_table{table, 4 * LANE};
#pragma unroll 1
      for (uint run = threadIdx.x; run < S::kKeys * S::kDim / 32; run += S::kThreads) {
        const uint key = run % S::kKeys, part = run / S::kKeys;
        uint w[C::kBits], pairs[16];
        kernels_attn_decode_tq_levels::read_codes<C, 32>(codes, key, 0, part, w);
        each_unit<0, 16>([&](auto index) {
          constexpr int i = decltype(index)::kValue;
          pairs[i] = kernels_attn_decode_tq_levels::level_pair<C, i>(w, lane_table);
        });
        UNROLL for (int i = 0; i < 16; i += 4) {
          asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(tile + key * S::kPitch +
                                                                     64 * part + 4 * i),
                       "r"(pairs[i]), "r"(pairs[i + 1]), "r"(pairs[i + 2]), "r"(pairs[i + 3])
                       : "memory");
        }
      }
    });
  }

  const GpuAttnPrefillTq& p_;
  const uchar *k_, *v_;
  const float *k_norms_, *v_norms_;
  float* norms_;  // in threadgroup memory: of two tiles factors of K and V and exponents of V, then
                  // norms as stored
  uint k_table_, v_table_, codes_;
};

// Grid: tiles of queries; heads; sequences.
template <class S, bool kPlain>
__global__ __launch_bounds__(S::kThreads, kPlain ? S::kGroups : 1) void attn_prefill_tq_mma(
    const uchar* q, const uchar* k, const float* k_norms, const uchar* v, const float* v_norms,
    const int* kv_len, const int* q_offset, const int* ring_start, const int* prefix_len,
    const int* block_table, const float* sinks, const float* slopes, uchar* out, float* lse,
    const GpuAttnPrefillTq p) {
  extern __shared__ uint4 shared[];
  __shared__ float norms[8 * S::kNorms * S::kKeys];
  const CodedRows<S> rows(k, k_norms, v, v_norms,
                          shared + (S::kQueryBytes + 2 * S::kTileBytes) / 16, norms, p);
  await_inputs();
  kernels_attn_prefill_mma::attend_rows<half, S, kPlain>(
      q, nullptr, nullptr, kv_len, q_offset, ring_start, prefix_len, nullptr, nullptr, block_table,
      nullptr, nullptr, sinks, slopes, out, lse, p.attn, rows);
}

}  // namespace kernels_attn_prefill_tq_mma
}  // namespace gpu
}  // namespace mlxn
