// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq over codes of any width on matrix units, as attn_decode/cuda_floats.h over an f16
// cache: codebooks are exact in f16, and a lane turns the codes of its operands into levels by a
// table with a copy per lane. Which element is which row or column of a product is free, so that a
// lane's codes are neighbours in a row of the cache:
//   K: lane 4g + t has elements kKCodes t .. of a unit, of keys g and g + 8
//   V: elements kVCodes g .. of keys 2t, 2t + 1 and 8 more
// Rows that are not whole 16 bytes, or not whole units, come as cuda_packed.h says; K and V of two
// widths as cuda_mixed.h does. Codes of 4 bits with integer levels have a faster kernel but at head
// dim 80: cuda_codes.h. Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_decode_tq/cuda_level_rows.h"
#include "kernels/attn_decode_tq/cuda_rotate.h"
#include "kernels/common/gpu_tq.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

// Codes of kTogether neighbours -> their levels in units of half_unit, in both halves of a word or,
// of two, one in each.
template <class S>
GPU_FN void put_table(const GpuTqTable& t, float unit, uint4* table) {
#pragma unroll 1
  for (uint i = threadIdx.x; i < S::kTableBytes / 16; i += blockDim.x) {
    const uint codes = i / (kTableStride / 16), mask = (1u << S::kBits) - 1;
    const float low = t.levels[codes & mask] * unit;
    const float high = S::kTogether == 2 ? t.levels[codes >> S::kBits & mask] * unit : low;
    const uint pair = pack2(low, high, half());
    table[i] = make_uint4(pair, pair, pair, pair);
  }
}

GPU_FN uint read_word(uint address) {
  uint v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}
// A table as a lane sees it: its words are at begin + lane + kTableStride code, lane below the
// stride. `begin` is known to the linker and costs no instruction.
struct LaneTable {
  uint begin, lane;
};
// Of the table, which does not change: the compiler may move it.
GPU_FN uint read_entry(uint address) {
  uint v;
  asm("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
// Codes kCodes i .. of row row + more of a unit, from the first word's bit 0 on. more: whole
// eights.
template <class S, int kCodes>
GPU_FN void read_codes(uint unit, uint row, uint more, uint i, uint* w) {
  constexpr int kRunBits = kCodes * S::kBits, kWords = (kRunBits + 31) / 32;
  // The run begins at a multiple of so many bits: of its row, or of all memory.
  constexpr int kEither = kRunBits | (S::kPacked ? 8 * S::kUnitRowBytes : 0);
  constexpr int kAlign = kEither & -kEither;
  // As many words at a time as are aligned and therefore in one piece.
  constexpr int kAtOnce = kAlign % 128 == 0 ? 4 : kAlign % 64 == 0 ? 2 : 1;
  constexpr int kRead = S::kPacked && kAlign < 32 ? (kRunBits - kAlign + 63) / 32 : kWords;
  const uint bit = (S::kPacked ? 8 * (unit + row * S::kUnitRowBytes) : 0) + kRunBits * i;
  uint beyond = 0;
  UNROLL for (int n = 0; n < kRead; n += kAtOnce) {
    const uint word = bit / 32 + n;
    const uint at = S::kPacked ? 4 * word + more * S::kUnitRowBytes
                               : unit + S::Place::at(more + row, word / 4) + word % 4 * 4;
    if constexpr (kAtOnce == 4) {
      asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(w[n]), "=r"(w[n + 1]), "=r"(w[n + 2]), "=r"(w[n + 3])
                   : "r"(at)
                   : "memory");
    } else if constexpr (kAtOnce == 2) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                   : "=r"(w[n]), "=r"(w[n + 1])
                   : "r"(at)
                   : "memory");
    } else {
      (n < kWords ? w[n] : beyond) = read_word(at);
    }
  }
  if constexpr (kAlign < 32) {  // the first word has bits in front of the run
    UNROLL for (int n = 0; n < kWords; n++) {
      w[n] = __funnelshift_r(w[n], n + 1 < kWords ? w[n + 1] : beyond, bit % 32);
    }
  }
}

// The table's entry for bits [kAt, kAt + kCount) of a stream of words.
template <int kAt, int kCount>
GPU_FN uint entry_of(const uint* w, LaneTable table) {
  constexpr int kWord = kAt / 32, kShift = kAt % 32;
  if constexpr (kCount == 8) {
    // One byte times the stride.
    return read_entry(table.begin + __dp4a(w[kWord], uint(kTableStride) << kShift, table.lane));
  } else {
    constexpr uint kMask = ((1u << kCount) - 1u) * kTableStride;
    uint v;
    if constexpr (kShift + kCount > 32) {
      v = __funnelshift_r(w[kWord], w[kWord + 1], kShift) << 7;
    } else if constexpr (kShift < 7) {
      v = w[kWord] << (7 - kShift);
    } else {
      v = w[kWord] >> (kShift - 7);
    }
    return read_entry(table.begin + ((v & kMask) | table.lane));
  }
}

// Two levels from code 2 i of 32 on.
template <class S, int i>
GPU_FN uint level_pair(const uint* w, LaneTable table) {
  constexpr int kBits = S::kBits;
  if constexpr (S::kTogether == 2) {
    return entry_of<2 * kBits * i, 2 * kBits>(w, table);
  } else {
    const uint low = entry_of<2 * kBits * i, kBits>(w, table);
    const uint high = entry_of<2 * kBits * i + kBits, kBits>(w, table);
    return __byte_perm(low, high, 0x7610);
  }
}
// The level of code i, in both halves of a word.
template <class S, int i>
GPU_FN uint level(const uint* w, LaneTable table) {
  return entry_of<S::kBits * i, S::kBits>(w, table);
}

// sums[16 keys][term] += scores of unit `unit` of K, which is at `at`.
template <class S, class Queries>
GPU_FN void score_unit(uint at, int unit, uint lane, const Queries& queries, LaneTable table,
                       float (&sums)[kTiles][2][4]) {
  UNROLL for (int k = 0; k < kTiles; k++) {
    uint w[2][(S::kKCodes * S::kBits + 31) / 32];
    UNROLL for (int m = 0; m < 2; m++) {
      read_codes<S, S::kKCodes>(at, lane / 4, 16 * k + 8 * m, lane % 4, w[m]);
    }
    each_unit<0, S::kUnitSteps>([&](auto step_index) {
      constexpr int i = 2 * decltype(step_index)::kValue;
      const uint a0 = level_pair<S, i>(w[0], table), a1 = level_pair<S, i>(w[1], table);
      const uint a2 = level_pair<S, i + 1>(w[0], table), a3 = level_pair<S, i + 1>(w[1], table);
      UNROLL for (int term = 0; term < 2; term++) {
        const uint2 b = queries.get(term * S::Floats::kSteps + unit * S::kUnitSteps + i / 2);
        mma_f16(sums[k][term], a0, a1, a2, a3, b.x, b.y);
      }
    });
  }
}

// scores[norm][16 keys] over the units of K.
template <class S, class Widths, class Queries>
GPU_FN void score_keys(const Widths& widths, typename Widths::Stream& stream,
                       const Queries& queries, LaneTable table,
                       float (&scores)[S::kNorms][kTiles][4]) {
  constexpr int kAtOnce = Widths::kRolled ? 1 : S::kUnits;
#pragma unroll kAtOnce
  for (int norm = 0; norm < S::kNorms; norm++) {
    float sums[kTiles][2][4] = {};
#pragma unroll kAtOnce
    for (int unit = norm * S::kNormUnits; unit < (norm + 1) * S::kNormUnits; unit++) {
      const uint at = stream.wait();
      widths.of_keys([&](auto shape) INLINED {
        score_unit<decltype(shape)>(at, unit, widths.lane(), queries, table, sums);
      });
      stream.next(unit);
    }
    UNROLL for (int n = 0; n < S::kNorms; n++) {
      UNROLL for (int k = 0; k < kTiles; k++) {
        UNROLL for (int i = 0; i < 4; i++) {
          if (n == norm) scores[n][k][i] = sums[k][0][i] + sums[k][1][i];
        }
      }
    }
  }
}

// Levels of elements 2 i and 2 i + 1, each of both keys.
template <class S, int i>
GPU_FN uint2 level_square(const uint* w, const uint* next, LaneTable table) {
  if constexpr (S::kTogether == 2) {
    const uint x = level_pair<S, i>(w, table), y = level_pair<S, i>(next, table);
    return make_uint2(__byte_perm(x, y, 0x5410), __byte_perm(x, y, 0x7632));
  } else {
    return make_uint2(
        __byte_perm(level<S, 2 * i>(w, table), level<S, 2 * i>(next, table), 0x5410),
        __byte_perm(level<S, 2 * i + 1>(w, table), level<S, 2 * i + 1>(next, table), 0x5410));
  }
}

// sums[tile] += V^T weights of unit kUnit of V, which is at `at`. Rows g and g + 8 of tile
// kUnitSteps kUnit + j are elements kUnitDim kUnit + kVCodes g + 2 j and the next one.
template <class S, int kUnit>
GPU_FN void add_unit(uint at, uint lane, LaneTable table,
                     const WeightTerms<half, 2> (&weights)[kTiles],
                     float (&sums)[S::kDim / 16][4]) {
  UNROLL for (int k = 0; k < kTiles; k++) {
    uint w[4][(S::kVCodes * S::kBits + 31) / 32];  // keys 2t, 2t + 1, 2t + 8, 2t + 9
    UNROLL for (int i = 0; i < 4; i++) {
      read_codes<S, S::kVCodes>(at, lane % 4 * 2 + i % 2, 16 * k + i / 2 * 8, lane / 4, w[i]);
    }
    each_unit<0, S::kUnitSteps>([&](auto tile_index) {
      constexpr int j = decltype(tile_index)::kValue;
      const uint2 a = level_square<S, j>(w[0], w[1], table);
      const uint2 b = level_square<S, j>(w[2], w[3], table);
      UNROLL for (int term = 0; term < 2; term++) {
        mma_f16(sums[kUnit * S::kUnitSteps + j], a.x, a.y, b.x, b.y, weights[k].b[term][0],
                weights[k].b[term][1]);
      }
    });
  }
}

template <class S, class Widths>
GPU_FN void add_values(const Widths& widths, typename Widths::Stream& stream, LaneTable table,
                       const WeightTerms<half, 2> (&weights)[S::kNorms][kTiles],
                       float (&sums)[S::kDim / 16][4]) {
  each_unit<0, S::kUnits>([&](auto unit_index) INLINED {
    constexpr int unit = decltype(unit_index)::kValue;
    const uint at = stream.wait();
    widths.of_values([&](auto shape) INLINED {
      add_unit<decltype(shape), unit>(at, widths.lane(), table, weights[unit / S::kNormUnits],
                                      sums);
    });
    stream.next(S::kUnits + unit);
  });
}

// Grid: parts; KV heads and tiles of their query heads; sequences.
template <class Widths>
__global__ __launch_bounds__(32 * kWarps, 1) void attn_decode_tq_levels(
    const uchar* q, const uchar* k, const float* k_norms, const uchar* v, const float* v_norms,
    const int* kv_len, const int* ring_start, const int* block_table, const float* slopes,
    float* part_values, float2* part_states, const GpuAttnDecodeTq p) {
  constexpr int kDim = Widths::kDim;
  typedef DimShape<kDim> S;
  typedef typename S::Floats Floats;
  constexpr int kNorms = S::kNorms, kRings = kWarps * Widths::Stream::kBytes;
  static_assert(2 * Widths::kTableBytes + Floats::kQueryBytes +
                    (kRings > S::Sums::kBytes ? kRings : S::Sums::kBytes) <=
                Widths::kMemory);
  extern __shared__ uint4 shared[];
  __shared__ float factors[kColumns];
  __shared__ float2 states[kWarps][kColumns];
  __shared__ uint v_signs[(kDim + 31) / 32];
  const TqHeads own(p);
  const Widths widths(p);
  if (threadIdx.x == 32 * (kWarps - 1)) {
    prefetch_part(own.b, own.kv_row(p), k, v, widths.key_row_bytes(), widths.value_row_bytes(),
                  k_norms, v_norms, kNorms, kv_len, ring_start, p);
  }
  keep_signs<kDim>(p.v, v_signs);
  uint4* const v_entries = shared + Widths::kTableBytes / 16;
  widths.of_keys([&](auto s) { put_table<decltype(s)>(p.k, 1.0f / p.k_unit, shared); });
  widths.of_values([&](auto s) { put_table<decltype(s)>(p.v, 1.0f / p.v_unit, v_entries); });
  const LaneSigns<kDim == 512 ? 2 : 1> signs(p.k.signs, kDim);
  // Divisions take their time: the part is that of the length that was, if it still is.
  const int early_length = early_value(kv_len + own.b);
  const int early_start = p.ring_start != 0 ? early_value(ring_start + own.b) : 0;
  TqPart part(own, early_length, early_start, p);
  await_inputs();
  // The length and the query are asked for together.
  const int length = kv_len[own.b], start = p.ring_start != 0 ? ring_start[own.b] : 0;
  const uint warp = warp_index();
  float x[kRowElements];
  own.load_query_of<kDim>(warp, q, p, x);
  if (length != early_length || start != early_start) part = TqPart(own, length, start, p);
  if (part.begin >= part.end) return put_empty_part(part.heads, part.row, p.splits, part_states);

  uchar* const memory = reinterpret_cast<uchar*>(shared);
  uint2* const terms = reinterpret_cast<uint2*>(memory + 2 * Widths::kTableBytes);
  uchar* const work = reinterpret_cast<uchar*>(terms) + Floats::kQueryBytes;
  const uint first = part.begin + warp * kKeys, step = kWarps * kKeys;
  const KeyRows rows = part.rows(block_table, p);
  const uint ring = shared_address(work) + warp * Widths::Stream::kBytes;
  typename Widths::Stream stream =
      widths.stream(rows, k + part.first_row * widths.key_row_bytes(),
                    v + part.first_row * widths.value_row_bytes(), ring, first, step);
  k_norms += part.first_row * kNorms;
  v_norms += part.first_row * kNorms;
  KeyNorms<kNorms> norms;
  norms.load(rows, first, k_norms, v_norms);
  if (p.rotated == 0) {
    signs.apply(x);
    fwht_row<kDim>(x);
  }
  kernels_attn_decode_mma::put_query<half, kDim, typename S::Order>(x, warp, terms, factors);
  __syncthreads();
  const kernels_attn_decode_mma::Queries<Floats> queries(terms);
  LogitRules<false> rules = {};
  UNROLL for (uint e = 0; e < 2; e++) {
    const uint column = LANE % 4 * 2 + e;
    rules.scale[e] = factors[column] * p.k_unit * norm_scale<kDim>(p.k) * p.softmax_scale;
    rules.slope[e] = part.slope(slopes, column, p);
  }
  rules.cap = p.logits_soft_cap;
  rules.last = part.held.end - 1;
  const LaneTable k_table{shared_address(shared), 4 * LANE};
  const LaneTable v_table{shared_address(shared) + Widths::kTableBytes, 4 * LANE};

  Softmax<kTiles> softmax;
  float sums[kDim / 16][4];
  UNROLL for (int i = 0; i < kDim / 16; i++) {
    UNROLL for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
  }
  for (uint at = first; at < part.end; at += step) {
    float scores[kNorms][kTiles][4];
    score_keys<S>(widths, stream, queries, k_table, scores);
    float z[kTiles][4], v_norm[kNorms][kTiles][2];
    norms.apply(scores, z, v_norm);
    rules.apply(z, at, rows.there<kKeys>(at));
    norms.load(rows, at + step, k_norms, v_norms);
    WeightTerms<half, 2> weights[kNorms][kTiles];
    weigh_values(softmax, z, v_norm, weights, sums);
    add_values<S>(widths, stream, v_table, weights, sums);
  }
  softmax.finish();

  wait_copies<0>();
  __syncthreads();  // rings become sums
  const typename S::Sums all{reinterpret_cast<float*>(work), states};
  if (first < part.end) {
    put_spread_rows<kDim, S::kVCodes>(all, warp, 0, sums);
    all.put_state(warp, softmax);
  }
  __syncthreads();
  join_rotated<kDim>(all, part.busy(kKeys, kWarps), part.heads, p.v_unit * norm_scale<kDim>(p.v),
                     v_signs, p.rotated == 0, part.row, p.splits, part_values, part_states);
}

#define DECODE_LEVELS(dim, bits) \
  INSTANTIATE(attn_decode_tq_levels_##dim##_##bits, attn_decode_tq_levels, OneWidth<dim, bits>)
#define DECODE_LEVELS_OF(dim) \
  DECODE_LEVELS(dim, 2)       \
  DECODE_LEVELS(dim, 3)       \
  DECODE_LEVELS(dim, 4)       \
  DECODE_LEVELS(dim, 5)       \
  DECODE_LEVELS(dim, 6)       \
  DECODE_LEVELS(dim, 8)

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
