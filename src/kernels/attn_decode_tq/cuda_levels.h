// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq over codes of any width on matrix units. Codebooks are exact in f16, so a
// simdgroup turns 16 rows of codes into f16 levels in threadgroup memory, by a table with a copy
// per lane, and goes on as over an f16 cache (attn_decode/cuda_floats.h), with a norm per row.
// Codes of 4 bits with integer levels have a faster kernel: cuda_codes.h. Buffers and their layout:
// gpu.h.
#pragma once
#include "kernels/attn_decode/cuda_floats.h"
#include "kernels/attn_decode_tq/cuda_norms.h"
#include "kernels/common/gpu_tq.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_levels {

using kernels_attn_decode_mma::kWarps;

enum { kKeys = 32, kTiles = 2 };  // of a unit; 16s of them
enum { kTableStride = 128 };      // bytes of an entry: a word for each lane

// Rows one after the other. Lane l reads codes of row l / 4 (l / 2 of short rows) in words or
// vectors that meet at most two to a bank.
template <int kBytes>
struct PlainPlace {
  static constexpr int kRowPitch = kBytes, kPeriod = 1;
  GPU_FN static uint at(uint row, uint piece) { return row * kBytes + 16 * piece; }
};

template <int kHeadDim, int kCodeBits>
struct Shape {
  typedef kernels_attn_decode_mma::Shape<half, kHeadDim> Floats;
  static constexpr int kDim = kHeadDim, kBits = kCodeBits;
  static constexpr int kUnits = Floats::kUnits, kUnitDim = Floats::kUnitDim;
  static constexpr int kNorms = kDim == 512 ? 2 : 1, kNormUnits = kUnits / kNorms;
  // Narrow codes are looked up in pairs.
  static constexpr int kTogether = kBits <= 4 ? 2 : 1;
  static constexpr int kTableBytes = (1 << (kBits * kTogether)) * kTableStride;
  static constexpr int kUnitRowBytes = kUnitDim * kBits / 8;
  static constexpr int kStages = kBits == 8 ? 3 : kBits == 6 ? 5 : kBits == 5 ? 6 : 8;
  typedef UnitStream<kKeys, kDim * kBits / 8, kUnits, kStages, PlainPlace<kUnitRowBytes>> Stream;
  typedef PartSums<kDim, kWarps> Sums;
  static constexpr int kLevelBytes = 16 * Floats::Place::kRowPitch;  // of a simdgroup
  static constexpr int kRingBytes = kStages * Stream::kUnitBytes;    // likewise
  static constexpr int kRings = kWarps * (kLevelBytes + kRingBytes);
  static constexpr int kWorkBytes = kRings > Sums::kBytes ? kRings : Sums::kBytes;
};

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
// Of the table, which does not change: the compiler may move it.
GPU_FN uint read_entry(uint address) {
  uint v;
  asm("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
GPU_FN void write_16(uint address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}
// kWords words in vectors as wide as their number allows.
template <int kWords>
GPU_FN void read_words(uint address, uint* w) {
  if constexpr (kWords % 4 == 0) {
    UNROLL for (int i = 0; i < kWords; i += 4) {
      asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(w[i]), "=r"(w[i + 1]), "=r"(w[i + 2]), "=r"(w[i + 3])
                   : "r"(address + 4 * i)
                   : "memory");
    }
  } else if constexpr (kWords % 2 == 0) {
    UNROLL for (int i = 0; i < kWords; i += 2) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                   : "=r"(w[i]), "=r"(w[i + 1])
                   : "r"(address + 4 * i)
                   : "memory");
    }
  } else {
    UNROLL for (int i = 0; i < kWords; i++) w[i] = read_word(address + 4 * i);
  }
}

// The address of the table's entry for bits [kAt, kAt + kCount) of a stream of words.
template <int kAt, int kCount>
GPU_FN uint entry_of(const uint* w, uint table) {
  constexpr int kWord = kAt / 32, kShift = kAt % 32;
  if constexpr (kCount == 8) {
    return __dp4a(w[kWord], uint(kTableStride) << kShift, table);  // one byte times the stride
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
    return table + (v & kMask);
  }
}

// Two levels from code 2 i of 32 on. table: of this lane.
template <class S, int i>
GPU_FN uint level_pair(const uint* w, uint table) {
  constexpr int kBits = S::kBits;
  if constexpr (S::kTogether == 2) {
    return read_entry(entry_of<2 * kBits * i, 2 * kBits>(w, table));
  } else {
    const uint low = read_entry(entry_of<2 * kBits * i, kBits>(w, table));
    const uint high = read_entry(entry_of<2 * kBits * i + kBits, kBits>(w, table));
    return __byte_perm(low, high, 0x7610);
  }
}
template <class S, int i>
GPU_FN uint4 eight_levels(const uint* w, uint table) {
  return make_uint4(level_pair<S, 4 * i>(w, table), level_pair<S, 4 * i + 1>(w, table),
                    level_pair<S, 4 * i + 2>(w, table), level_pair<S, 4 * i + 3>(w, table));
}

// Sixteen rows of a unit as f16, placed as cuda_floats.h reads them. A lane takes 32 codes at a
// time.
template <class S>
GPU_FN void put_levels(uint codes, uint levels, uint table) {
  typedef typename S::Floats::Place Place;
  constexpr int kRuns = S::kUnitDim / 32;  // of 32 codes, of a row
  UNROLL for (int i = 0; i < 16 * kRuns / 32; i++) {
    const uint task = 32 * i + LANE, row = task / kRuns, run = task % kRuns;
    uint w[S::kBits];
    read_words<S::kBits>(codes + task * 4 * S::kBits, w);
    write_16(levels + Place::at(row, 4 * run), eight_levels<S, 0>(w, table));
    write_16(levels + Place::at(row, 4 * run + 1), eight_levels<S, 1>(w, table));
    write_16(levels + Place::at(row, 4 * run + 2), eight_levels<S, 2>(w, table));
    write_16(levels + Place::at(row, 4 * run + 3), eight_levels<S, 3>(w, table));
  }
}

// What score_keys() and add_values() take for a stream: sixteen rows that are there.
struct LevelRows {
  uint address;
  GPU_FN uint wait() const { return address; }
  template <int>
  GPU_FN void next() const {}
};

// The levels of rows 16 k .. 16 k + 15 of the unit at `at`, for one reader.
template <class S, class Use>
GPU_FN void with_levels(uint at, int k, uint levels, uint table, const Use& use) {
  __syncwarp();  // the rows before have been read
  put_levels<S>(at + 16 * k * S::kUnitRowBytes, levels, table);
  __syncwarp();
  use(LevelRows{levels});
}

// scores[norm][16 keys] over the units of K.
template <class S, int norm, class Queries>
GPU_FN void score_norm(typename S::Stream& stream, const Queries& queries, uint levels, uint table,
                       float (&scores)[S::kNorms][kTiles][4]) {
  float sums[kTiles][2][4] = {};
  const auto unit = [&](auto index) {
    constexpr int kUnit = decltype(index)::kValue;
    const uint at = stream.wait();
    UNROLL for (int k = 0; k < kTiles; k++) {
      with_levels<S>(at, k, levels, table, [&](LevelRows rows) {
        kernels_attn_decode_mma::score_keys<half, S::kDim, kUnit, 1>(rows, queries, sums[k]);
      });
    }
    stream.template next<kUnit>();
  };
  each_unit<norm * S::kNormUnits, S::kNormUnits>(unit);
  UNROLL for (int k = 0; k < kTiles; k++) {
    UNROLL for (int i = 0; i < 4; i++) scores[norm][k][i] = sums[k][0][i] + sums[k][1][i];
  }
}

// sums[element / 16] over the units of V.
template <class S, int norm>
GPU_FN void add_norm(typename S::Stream& stream, uint levels, uint table,
                     const WeightTerms<half, 2> (&weights)[S::kNorms][kTiles],
                     float (&sums)[S::kDim / 16][4]) {
  const auto unit = [&](auto index) {
    constexpr int kUnit = decltype(index)::kValue;
    const uint at = stream.wait();
    UNROLL for (int k = 0; k < kTiles; k++) {
      with_levels<S>(at, k, levels, table, [&](LevelRows rows) {
        kernels_attn_decode_mma::add_values<half, S::kDim, kUnit, 1>(rows, weights[norm][k], sums);
      });
    }
    stream.template next<S::kUnits + kUnit>();
  };
  each_unit<norm * S::kNormUnits, S::kNormUnits>(unit);
}

// Grid: parts; KV heads and tiles of their query heads; sequences.
template <int kDim, int kBits>
__global__ __launch_bounds__(32 * kWarps, 1) void attn_decode_tq_levels(
    const uchar* q, const uchar* k, const float* k_norms, const uchar* v, const float* v_norms,
    const int* kv_len, const int* ring_start, const int* block_table, const float* slopes,
    float* part_values, float2* part_states, const GpuAttnDecodeTq p) {
  typedef Shape<kDim, kBits> S;
  typedef typename S::Floats Floats;
  constexpr int kNorms = S::kNorms;
  extern __shared__ uint4 shared[];
  __shared__ float factors[kColumns];
  __shared__ float2 states[kWarps][kColumns];
  put_table<S>(p.k, 1.0f / p.k_unit, shared);
  put_table<S>(p.v, 1.0f / p.v_unit, shared + S::kTableBytes / 16);
  await_inputs();
  const TqPart part(kv_len, ring_start, p);
  if (part.begin >= part.end) return put_empty_part(part.heads, part.row, p.splits, part_states);

  uchar* const memory = reinterpret_cast<uchar*>(shared);
  uint2* const terms = reinterpret_cast<uint2*>(memory + 2 * S::kTableBytes);
  uchar* const work = reinterpret_cast<uchar*>(terms) + Floats::kQueryBytes;
  const uint warp = warp_index(), first = part.begin + warp * kKeys, step = kWarps * kKeys;
  float x[kRowElements];
  part.load_query_of<kDim>(warp, q, p, x);
  const KeyRows rows = part.rows(block_table, p);
  const uint levels = shared_address(work) + warp * S::kLevelBytes;
  const uint ring = shared_address(work) + kWarps * S::kLevelBytes + warp * S::kRingBytes;
  typename S::Stream stream(rows, k + part.first_row * (kDim * kBits / 8),
                            v + part.first_row * (kDim * kBits / 8), ring, first, step);
  k_norms += part.first_row * kNorms;
  v_norms += part.first_row * kNorms;
  KeyNorms<kNorms> norms;
  norms.load(rows, first, k_norms, v_norms);
  if (p.rotated == 0) rotate_elements<32>(x, p.k, LANE);
  kernels_attn_decode_mma::put_query<half, kDim>(x, warp, terms, factors);
  __syncthreads();
  const kernels_attn_decode_mma::Queries<half, kDim> queries(terms);
  LogitRules<false> rules = {};
  UNROLL for (uint e = 0; e < 2; e++) {
    const uint column = LANE % 4 * 2 + e;
    rules.scale[e] = factors[column] * p.k_unit * norm_scale<kDim>(p.k) * p.softmax_scale;
    rules.slope[e] = part.slope(slopes, column, p);
  }
  rules.cap = p.logits_soft_cap;
  rules.last = part.held.end - 1;
  const uint k_table = shared_address(shared) + 4 * LANE, v_table = k_table + S::kTableBytes;

  Softmax<kTiles> softmax;
  float sums[kDim / 16][4];
  UNROLL for (int i = 0; i < kDim / 16; i++) {
    UNROLL for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
  }
  for (uint at = first; at < part.end; at += step) {
    float scores[kNorms][kTiles][4];
    score_norm<S, 0>(stream, queries, levels, k_table, scores);
    if constexpr (kNorms == 2) score_norm<S, 1>(stream, queries, levels, k_table, scores);
    float z[kTiles][4], v_norm[kNorms][kTiles][2];
    norms.template apply<kTiles>(scores, z, v_norm);
    rules.apply(z, at, rows.there<kKeys>(at));
    norms.load(rows, at + step, k_norms, v_norms);
    WeightTerms<half, 2> weights[kNorms][kTiles];
    weigh_values<kTiles, kNorms>(softmax, z, v_norm, weights, sums);
    add_norm<S, 0>(stream, levels, v_table, weights, sums);
    if constexpr (kNorms == 2) add_norm<S, 1>(stream, levels, v_table, weights, sums);
  }
  softmax.finish();

  wait_copies<0>();
  __syncthreads();  // rings become sums
  const typename S::Sums all{reinterpret_cast<float*>(work), states};
  all.put_rows(warp, sums);
  all.put_state(warp, softmax);
  __syncthreads();
  all.join(part.heads, p.v_unit * norm_scale<kDim>(p.v), part.row, p.splits, part_values,
           part_states);
}

}  // namespace kernels_attn_decode_tq_levels
}  // namespace gpu
}  // namespace mlxn
