// SPDX-License-Identifier: Apache-2.0
// attn_decode_tq over 4-bit codes of both caches on matrix units, as attn_decode/cuda_floats.h over
// floats. A level is an odd integer n = 2 b + 1 times a unit, b a signed byte, so that
//   q . level = unit (2 q . b + sum of q)
// K: codes become bytes b by permutation, queries three signed digits of a 24-bit integer; the sums
// are exact. V: two codes of neighbouring keys become two f16 by a table; weights times norms are
// two f16 terms. Of up to four query heads two digits, or both terms, are columns of one product.
// Buffers and their layout: gpu.h.
#pragma once
#include "kernels/attn_decode_tq/cuda_norms.h"
#include "kernels/attn_decode_tq/cuda_plan.h"
#include "kernels/attn_decode_tq/cuda_query.h"
#include "kernels/attn_decode_tq/cuda_tiles.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_decode_tq_mma {

enum { kKeys = kTileKeys, kTiles = 2, kTableBytes = 256 * 32 * 4 };

template <int kHeadDim, int kWarpCount, int kHeadsOfLane>
struct Shape {
  static constexpr int kLaneHeads = kHeadsOfLane, kRows = 2 * kLaneHeads;
  static constexpr int kOperands = kLaneHeads == 2 ? kDigits : 2;     // of a step of the scores
  static constexpr int kDim = kHeadDim, kRuns = kDim == 512 ? 2 : 1;  // of 8 elements a lane
  static constexpr int kWarps = kWarpCount;
  // Simdgroups that share a tile: each has the elements under a norm.
  static constexpr int kShares = kDim == 512 ? 2 : 1, kShareDim = kDim / kShares;
  static constexpr int kTeams = kWarps / kShares;  // that have a tile at a time
  static constexpr bool kTakeTurns = kWarps == 8;  // the two simdgroups of a scheduler
  // Simdgroups meet once a round: what they ask memory for next to each other then lies there side
  // by side. Tiles of 2 KB that are asked for in any order take 4 % more time, of 1.5 KB 1.5 %; of
  // 1 KB 3 % less.
  static constexpr bool kKeepStep = kDim == 96 || kDim == 128;
  // A row is read in units: 128 elements as often as there are, then 64, then 32.
  static constexpr int kUnitDim = kDim >= 128 ? 128 : 64, kSteps = kShareDim / 32;
  static constexpr int kSlots = kernels::tq_plan::codes_slots(kDim);
  typedef TileOrder<kDim / 2> Order;
  static constexpr int kKeyGroup = Order::kLong ? 16 : kDim == 128 ? 32 : 8;
  static constexpr int kKeyGap = Order::kLong ? 64 : kDim == 128 ? 0 : 32;
  typedef TileRing<kDim / 2, kKeyGroup, kKeyGap, kSlots> KeyTiles;
  typedef TileRing<kDim / 2, Order::kOfLane, 32, kSlots> ValueTiles;
  typedef NormRing<kShares, kSlots + 1> Norms;
  typedef PartSums<kDim, kTeams, kLaneHeads> Sums;
  typedef WeightTerms<half, 2, kLaneHeads> Weights;
  static constexpr int kShareOperands = kOperands * kSteps;
  static constexpr int kQueryBytes = kShares * kShareOperands * 32 * 8;
  static constexpr int kExchanged = kTiles * kRows / 4;  // float4 of a lane
  static constexpr int kExchangeBytes = kShares == 1 ? 0 : 2 * kWarps * kExchanged * 32 * 16;
  static constexpr int kRingBytes = KeyTiles::kBytes + ValueTiles::kBytes;  // of a team
  static constexpr int kRings = kTeams * kRingBytes;
  // Of a share: where the unit of an element begins, and how many the unit that begins there has.
  GPU_FN static constexpr uint unit_at(uint element) { return element / kUnitDim * kUnitDim; }
  GPU_FN static constexpr uint unit_dim(uint at) {
    return at + kUnitDim <= kShareDim ? kUnitDim : kShareDim - at;
  }
  static constexpr int kMemory = kTableBytes + kQueryBytes + kExchangeBytes +
                                 kWarps * Norms::kBytes +
                                 (kRings > Sums::kBytes ? kRings : Sums::kBytes);
  static_assert(kWarps == kernels::tq_plan::codes_warps(kDim) &&
                kMemory == kernels::tq_plan::codes_memory(kDim, kLaneHeads == 1));
};

// Byte of codes -> levels in units of its low and its high nibble, a copy per lane.
GPU_FN void put_table(const GpuAttnDecodeTq& p, uint4* table) {
  const uint bytes[2] = {p.v_bytes[0], p.v_bytes[1]};
  const auto level = [&](uint code) {
    const float n = float(2 * (__byte_perm(bytes[0], bytes[1], code & 7) & 255u) + 1);
    return (code & 8) != 0 ? -n : n;
  };
#pragma unroll 1
  for (uint i = threadIdx.x; i < 256 * 8; i += blockDim.x) {
    const uint pair = pack2(level(i / 8 % 16), level(i / 128), half());
    table[i] = make_uint4(pair, pair, pair, pair);
  }
}

// Bytes of a and b by number; of a number with bit 3 set, eight copies of the byte's top bit. Only
// the low half of the selector counts.
GPU_FN uint permute(uint a, uint b, uint selector) {
  uint result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
}
// Eight codes of sign and magnitude -> eight bytes b in their order; `bytes` by magnitude.
GPU_FN void decode(uint codes, uint2 bytes, uint* low, uint* high) {
  const uint magnitudes = codes & 0x77777777u, even_signs = codes << 4;
  *low = permute(bytes.x, bytes.y, magnitudes) ^ permute(codes, even_signs, 0x9d8c);
  *high = permute(bytes.x, bytes.y, magnitudes >> 16) ^ permute(codes, even_signs, 0xbfae);
}

// The low nibbles of `low` and the high ones of `high`, in one operation.
GPU_FN uint low_and_high_codes(uint low, uint high) {
  uint both;
  asm("lop3.b32 %0, %1, %2, 0x0f0f0f0f, 0xe4;" : "=r"(both) : "r"(low), "r"(high));
  return both;
}

// kBytes from a multiple of as many.
template <int kBytes>
GPU_FN void read_bytes(uint address, uint (&w)[(kBytes + 3) / 4]) {
  if constexpr (kBytes == 16) {
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(address)
                 : "memory");
  } else if constexpr (kBytes == 8) {
    asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                 : "=r"(w[0]), "=r"(w[1])
                 : "r"(address)
                 : "memory");
  } else if constexpr (kBytes == 4) {
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(w[0]) : "r"(address) : "memory");
  } else {
    static_assert(kBytes == 2);
    ushort v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
    w[0] = v;
  }
}

template <class Shape>
using Queries = HeldOperands<Shape::kShareOperands, true>;

// What the integers of this lane's heads stand for:
//   score = high * sum of the most significant digit + low * sum of the others + of_sum
template <class Shape>
struct HeadScale {
  float high[Shape::kLaneHeads], low[Shape::kLaneHeads], of_sum[Shape::kLaneHeads];
};

// Sums over a digit of row and head i of Shape::kRows, out of products' operands.
template <class Shape>
GPU_FN int digit_sum(const int (&sums)[Shape::kOperands][4], int digit, int i) {
  return Shape::kLaneHeads == 2 ? sums[digit][i] : sums[digit / 2][2 * i + digit % 2];
}

// sums += products over the units of this share from element kAt on; at: of lane 4g + t, the share
// in the key of row g.
template <class Shape, int kAt = 0>
GPU_FN void score_units(uint at, const Queries<Shape>& queries, uint2 bytes,
                        int (&sums)[kTiles][Shape::kOperands][4]) {
  if constexpr (kAt < Shape::kShareDim) {
    constexpr int kUnitDim = Shape::unit_dim(kAt), kUnitSteps = kUnitDim / 32;
    const uint own = at + kAt / 2 + kUnitDim / 8 * (LANE % 4);
    uint codes[kTiles][2][kUnitSteps];
    UNROLL for (int k = 0; k < kTiles; k++) {
      UNROLL for (int m = 0; m < 2; m++) {
        const int more = Shape::Order::more(k, m) * Shape::KeyTiles::kRowBytes;
        read_bytes<kUnitDim / 8>(own + more, codes[k][m]);
      }
    }
    UNROLL for (int step = 0; step < kUnitSteps; step++) {
      uint a[kTiles][4];
      UNROLL for (int k = 0; k < kTiles; k++) {
        decode(codes[k][0][step], bytes, &a[k][0], &a[k][2]);
        decode(codes[k][1][step], bytes, &a[k][1], &a[k][3]);
      }
      UNROLL for (int i = 0; i < Shape::kOperands; i++) {
        const uint2 b = queries.get(i * Shape::kSteps + kAt / 32 + step);
        UNROLL for (int k = 0; k < kTiles; k++) {
          mma_s8(sums[k][i], a[k][0], a[k][1], a[k][2], a[k][3], b.x, b.y);
        }
      }
    }
    score_units<Shape, kAt + kUnitDim>(at, queries, bytes, sums);
  }
}
// z = scores of the elements of this share.
template <class Shape>
GPU_FN void score_keys(uint at, const Queries<Shape>& queries, uint2 bytes,
                       const HeadScale<Shape>& scale, float (&z)[kTiles][Shape::kRows]) {
  int sums[kTiles][Shape::kOperands][4] = {};
  score_units<Shape>(at, queries, bytes, sums);
  UNROLL for (int k = 0; k < kTiles; k++) {
    UNROLL for (int i = 0; i < Shape::kRows; i++) {
      const int e = i % Shape::kLaneHeads;
      const int high = digit_sum<Shape>(sums[k], 0, i);
      const int low = digit_sum<Shape>(sums[k], 1, i) * 256 + digit_sum<Shape>(sums[k], 2, i);
      z[k][i] = fmaf(float(high), scale.high[e], fmaf(float(low), scale.low[e], scale.of_sum[e]));
    }
  }
}

// sums[element tile] += V^T weights over the units of this share from element kAt on; at: of lane
// 4g + t, the share in the key of row 2t. Rows g and g + 8 of tile j of a unit are elements 2 j and
// 2 j + 1 of its g-th eighth.
template <class Shape, int kAt = 0>
GPU_FN void add_values(uint at, uint table, const typename Shape::Weights (&weights)[kTiles],
                       float (&sums)[Shape::kShareDim / 16][4]) {
  if constexpr (kAt < Shape::kShareDim) {
    constexpr int kUnitDim = Shape::unit_dim(kAt), kBytes = kUnitDim / 16;  // of a lane and row
    constexpr int kWords = (kBytes + 3) / 4;
    constexpr int kOdd = Shape::ValueTiles::place_of(Shape::Order::kOdd);
    const auto levels = [&](uint codes, int byte) {  // table is for a lane: 128 bytes an entry
      uint v;
      asm("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(__dp4a(codes, 0x80u << (8 * byte), table)));
      return v;
    };
    const uint own = at + kAt / 2 + kBytes * (LANE / 4);
    UNROLL for (int k = 0; k < kTiles; k++) {
      // [half m][8 elements]: bytes of rows 2t and 2t + 1
      uint even[2][kWords], odd[2][kWords];
      UNROLL for (int m = 0; m < 2; m++) {
        const uint row = own + Shape::Order::more(k, m) * Shape::ValueTiles::kRowBytes;
        uint x[kWords], y[kWords];
        read_bytes<kBytes>(row, x);
        read_bytes<kBytes>(row + kOdd, y);
        UNROLL for (int i = 0; i < kWords; i++) {
          even[m][i] = low_and_high_codes(x[i], y[i] << 4);
          odd[m][i] = low_and_high_codes(x[i] >> 4, y[i]);
        }
      }
      UNROLL for (int j = 0; j < kBytes; j++) {
        const uint a0 = levels(even[0][j / 4], j % 4), a1 = levels(odd[0][j / 4], j % 4);
        const uint a2 = levels(even[1][j / 4], j % 4), a3 = levels(odd[1][j / 4], j % 4);
        UNROLL for (int i = 0; i < Shape::Weights::kOperands; i++) {
          mma_f16(sums[kAt / 16 + j], a0, a1, a2, a3, weights[k].b[i][0], weights[k].b[i][1]);
        }
      }
    }
    add_values<Shape, kAt + kUnitDim>(at, table, weights, sums);
  }
}

// The two simdgroups of a scheduler take turns in scores, so that one looks values up while the
// other one multiplies integers. Barriers 5 to 12: the turn of a simdgroup. All of a threadgroup
// have the same number of turns.
class Turns {
 public:
  GPU_FN explicit Turns(uint warp) : own_(5 + warp), other_(5 + (warp ^ 4)), first_(warp < 4) {
    if (!first_) give();
  }
  GPU_FN void take() const { asm volatile("bar.sync %0, 64;" ::"r"(own_) : "memory"); }
  GPU_FN void pass(bool last) const {
    if (first_ || !last) give();
  }

 private:
  GPU_FN void give() const { asm volatile("bar.arrive %0, 64;" ::"r"(other_) : "memory"); }
  uint own_, other_;
  bool first_;
};

// Puts the sums of the units of a share from element kAt on; the share begins at `first`.
template <class Shape, int kAt = 0>
GPU_FN void put_units(const typename Shape::Sums& all, uint team, uint first,
                      const float (&sums)[Shape::kShareDim / 16][4]) {
  if constexpr (kAt < Shape::kShareDim) {
    constexpr int kUnitDim = Shape::unit_dim(kAt);
    put_spread_rows<kUnitDim, kUnitDim / 8, kAt / 16>(all, team, first + kAt, sums);
    put_units<Shape, kAt + kUnitDim>(all, team, first, sums);
  }
}

// The barrier of the two simdgroups of a team.
GPU_FN void meet_other_share(uint warp) {
  asm volatile("bar.sync %0, 64;" ::"r"(warp / 2 + 1) : "memory");
}

// z += z of the other simdgroup of the team, by way of one of two places, so that the other one is
// still there to be read when this one is written.
template <class Shape>
GPU_FN void add_other_share(float4* places, uint& place, uint warp,
                            float (&z)[kTiles][Shape::kRows]) {
  constexpr int kPieces = Shape::kExchanged;
  float4* const exchange = places + place * Shape::kWarps * kPieces * 32;
  float4* const own = exchange + warp * kPieces * 32 + LANE;
  float* const flat = &z[0][0];
  UNROLL for (int i = 0; i < kPieces; i++) {
    own[32 * i] = make_float4(flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3]);
  }
  meet_other_share(warp);
  const float4* const other = exchange + (warp ^ 1) * kPieces * 32 + LANE;
  UNROLL for (int i = 0; i < kPieces; i++) {
    const float4 v = other[32 * i];
    flat[4 * i] += v.x, flat[4 * i + 1] += v.y, flat[4 * i + 2] += v.z, flat[4 * i + 3] += v.w;
  }
  place ^= 1;
}

// Grid: parts; KV heads and tiles of their query heads; sequences. kLinear: caches are neither
// rings nor paged.
template <int kDim, int kWarpCount, bool kPlain, int kLaneHeads, bool kLinear>
__global__ __launch_bounds__(32 * kWarpCount, 1) void attn_decode_tq_mma(
    const uchar* q, const uchar* k, const float* k_norms, const uchar* v, const float* v_norms,
    const int* kv_len, const int* ring_start, const int* block_table, const float* slopes,
    float* part_values, float2* part_states, const GpuAttnDecodeTq p) {
  typedef Shape<kDim, kWarpCount, kLaneHeads> S;
  constexpr int kNorms = S::kShares;
  extern __shared__ uint4 shared[];
  __shared__ HeadQuery head_queries[kColumns];
  __shared__ float2 states[S::kTeams][kColumns];
  __shared__ ulong barriers[S::kTeams][2 * S::kSlots];
  __shared__ uint v_signs[kDim / 32];
  __shared__ uint2 lane_bytes[32];  // a copy for each lane, or they would not stay in registers
  const TqHeads own(p);
  // 96 KB of K, and of V, are three rounds or more; more of them gained nothing. Of short parts
  // half is asked for: a copy of what is still on its way arrives later.
  if (threadIdx.x == 32 * (kWarpCount - 1)) {
    prefetch_part(own.b, own.kv_row(p), k, v, kDim / 2, kDim / 2, k_norms, v_norms, kNorms, kv_len,
                  ring_start, p, 16 << 10, 96 << 10);
  }
  if (threadIdx.x < 32) lane_bytes[LANE] = make_uint2(p.k_bytes[0], p.k_bytes[1]);
  put_table(p, shared);
  keep_signs<kDim>(p.v, v_signs);
  const LaneSigns<S::kRuns> signs(p.k.signs, kDim);
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

  uchar* const memory = reinterpret_cast<uchar*>(shared) + kTableBytes;
  uint2* const digits = reinterpret_cast<uint2*>(memory);
  float4* const exchange = reinterpret_cast<float4*>(memory + S::kQueryBytes);
  uint exchange_place = 0;
  uchar* const norm_rings = memory + S::kQueryBytes + S::kExchangeBytes;
  uchar* const work = norm_rings + kWarpCount * S::Norms::kBytes;
  const uint team = warp / S::kShares, share = warp % S::kShares;
  const uint first = part.begin + team * kKeys, step = S::kTeams * kKeys;
  KeyRows rows = part.rows(block_table, p);
  if constexpr (kLinear) rows.be_straight();
  const uint ring = shared_address(work) + team * S::kRingBytes;
  const uint ring_barriers = shared_address(barriers[team]);
  typename S::KeyTiles key_tiles(rows, k + part.first_row * (kDim / 2), ring, ring_barriers, first,
                                 step);
  typename S::ValueTiles value_tiles(rows, v + part.first_row * (kDim / 2),
                                     ring + S::KeyTiles::kBytes, ring_barriers + 8 * S::kSlots,
                                     first, step);
  if (share == 0) key_tiles.open();
  typename S::Norms norms(rows, k_norms + part.first_row * kNorms + share,
                          v_norms + part.first_row * kNorms,
                          shared_address(norm_rings) + warp * S::Norms::kBytes, first, step);
  if (warp < 4 * kLaneHeads) {
    if (p.rotated == 0) {
      signs.apply(x);
      fwht_row<kDim>(x);
    }
    put_query<S>(x, warp, digits, head_queries);
  }
  __syncthreads();
  // The rest only now: who asks for more than memory gives at once waits until it may ask.
  if (share == S::kShares - 1) value_tiles.open();
  if (share == 0) key_tiles.fill();
  if (share == S::kShares - 1) value_tiles.fill();
  const Queries<S> queries(digits + share * S::kShareOperands * 32);
  LogitRules<kPlain, kLaneHeads> rules = {};
  HeadScale<S> scale;
  UNROLL for (uint e = 0; e < kLaneHeads; e++) {
    const uint head = LANE % 4 * kLaneHeads + e;
    const HeadQuery& query = head_queries[head];
    const float unit = query.scale * 2.0f * p.k_unit * norm_scale<kDim>(p.k) * p.softmax_scale *
                       (kPlain ? kLog2E : 1.0f);
    scale.high[e] = unit * 65536.0f;
    scale.low[e] = unit;
    scale.of_sum[e] = unit * 0.5f * query.sum[share];
    rules.scale[e] = 1.0f;
    rules.slope[e] = part.slope(slopes, head, p);
  }
  rules.cap = p.logits_soft_cap;
  rules.last = part.held.end - 1;
  const uint2 bytes = lane_bytes[LANE];
  const uint lane_table = shared_address(shared) + 4 * LANE;
  const uint of_share = share * (S::kShareDim / 2);
  const uint key_place = S::KeyTiles::place_of(S::Order::key(0, 0)) + of_share;
  const uint value_place = S::ValueTiles::place_of(S::Order::first(LANE % 4)) + of_share;

  const Turns turns(S::kTakeTurns ? warp : 0);
  Softmax<kTiles, kLaneHeads> softmax;
  float sums[S::kShareDim / 16][4];
  UNROLL for (int i = 0; i < S::kShareDim / 16; i++) {
    UNROLL for (int j = 0; j < 4; j++) sums[i][j] = 0.0f;
  }
  const bool keep_step = S::kKeepStep && part.end - part.begin > step;
  const uint last_round = part.begin + (part.end - 1 - part.begin) / step * step + team * kKeys;
  for (uint at = first; at <= last_round; at += step) {
    if (S::kTakeTurns) turns.take();
    if (at >= part.end) {
      if (S::kTakeTurns) turns.pass(at == last_round);
      if (S::kShares == 2) meet_other_share(warp);  // all teams meet as often as the first one
      if (keep_step) __syncthreads();
      break;
    }
    float z[kTiles][S::kRows], v_norm[kTiles][2], factor[kTiles][2];
    score_keys<S>(key_tiles.wait() + key_place, queries, bytes, scale, z);
    if (S::kTakeTurns) turns.pass(at == last_round);
    key_tiles.next();
    norms.wait();
    UNROLL for (int t = 0; t < kTiles; t++) {
      UNROLL for (int m = 0; m < 2; m++) {
        const typename S::Norms::Key norm = norms.of(S::Order::key(t, m));
        v_norm[t][m] = norm.v(share);
        factor[t][m] = norm.largest_v();
        UNROLL for (int e = 0; e < kLaneHeads; e++) z[t][kLaneHeads * m + e] *= norm.k;
      }
    }
    if constexpr (S::kShares == 1) {
      __syncwarp();
      key_tiles.request();
    } else {
      add_other_share<S>(exchange, exchange_place, warp, z);
      // Both have read this tile of K, and V of the one before.
      if (share == 0) key_tiles.request();
      if (share == 1 && at != first) value_tiles.request();
    }
    norms.request();
    rules.template apply<typename S::Order>(z, at,
                                            at < rows.whole_end ? ~0u : rows.there<kKeys>(at));
    float w[kTiles][S::kRows], products[kTiles][S::kRows];
    softmax.weigh(z, factor, w, products, sums);
    typename S::Weights weights[kTiles];
    UNROLL for (int t = 0; t < kTiles; t++) {
      if constexpr (S::kShares == 2) {
        UNROLL for (int i = 0; i < S::kRows; i++) {
          products[t][i] = w[t][i] * v_norm[t][i / kLaneHeads];
        }
      }
      weights[t] = typename S::Weights(products[t]);
    }
    if (keep_step) __syncthreads();
    add_values<S>(value_tiles.wait() + value_place, lane_table, weights, sums);
    value_tiles.next();
    if constexpr (S::kShares == 1) {
      __syncwarp();
      value_tiles.request();
    }
  }
  softmax.finish();

  __syncthreads();  // rings become sums
  const typename S::Sums all{reinterpret_cast<float*>(work), states};
  if (first < part.end) {
    put_units<S>(all, team, share * S::kShareDim, sums);
    if (share == 0) all.put_state(team, softmax);
  }
  __syncthreads();
  join_rotated<kDim>(all, part.busy(kKeys, S::kTeams), part.heads, p.v_unit * norm_scale<kDim>(p.v),
                     v_signs, p.rotated == 0, part.row, p.splits, part_values, part_states);
}

// Grid: query heads; chunks of their rows.
template <int kDim>
__global__ __launch_bounds__(kMergeThreads) void attn_decode_tq_mma_merge(const float* part_values,
                                                                          const float2* part_states,
                                                                          const float* sinks,
                                                                          uchar* out, float* lse,
                                                                          const GpuAttnDecodeTq p) {
  await_inputs();
  merge_parts<kDim>(part_values, part_states, sinks, out, lse, p);
}

}  // namespace kernels_attn_decode_tq_mma
}  // namespace gpu
}  // namespace mlxn
