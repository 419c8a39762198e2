// SPDX-License-Identifier: Apache-2.0
// The rows of a simdgroup in attn_prefill: scores, weights and outputs in registers.
//
// A row has a reference, in logits to base 2: the largest logit of the first tile of which it sees
// a key. A key weighs 2^(kRoom + logit - reference). The reference is lifted when the weights of a
// part of a tile grow too large for their type, which they tell by their sums, so that no maximum
// is taken of other tiles. Whether it is lifted depends on nothing but the row.
#pragma once
#include "kernels/attn_prefill/cuda_copy.h"

namespace mlxn {
namespace gpu {
namespace kernels_attn_prefill_mma {

GPU_FN void multiply(half, float* c, const uint* a, uint b0, uint b1) {
  mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}
GPU_FN void multiply(bfloat, float* c, const uint* a, uint b0, uint b1) {
  mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
}

constexpr float kLog2E = 1.44269504088896f;
constexpr float kLeastScale = 0x1p-20f;  // of scores that become logits when they become weights

// A weight of the reference is 2^kRoom: smaller ones are normal f16 down to 2^-22 of it, and a sum
// of kFull leaves none that f16 does not hold.
constexpr float kRoom = 8.0f, kPerRoom = 0x1p-8f, kFull = 60000.0f;
constexpr float kLeastReference = -1e30f;  // of rows that have seen no key

// Simdgroups that share rows have barriers of their own, as many as their keys need. racecheck
// takes threads that have been at different numbers of barriers for threads that have not met, so
// for it all have as many.
#ifdef MLXN_CUDA_RACECHECK
constexpr bool kEvenMeetings = true;
#else
constexpr bool kEvenMeetings = false;
#endif

// What else becomes of the scores of a tile, for kCount rows g + 8 m.
template <int kCount>
struct TileRules {
  bool shaped;  // scores become logits at once, and else when they become weights
  float cap;    // 0: none; times log2(e), as logits are
  float slope;  // likewise
  uint position[kCount];
  const uchar* mask;  // null: none, or the whole tile is free
  uint mask_type;
  ulong cells[kCount];  // of key 0
  ulong there;          // bit i: key i of the tile
  // Of codes: factors of the tile's keys, [norm][key], of V those of the share and, kNorms rows
  // further, exponents of two that they do not exceed.
  const float *k_norms, *v_norms;

  GPU_FN float shape(float logit, uint key, int m) const {
    if (cap > 0.0f) logit = cap * tanhf(logit / cap);
    if (slope != 0.0f) logit += slope * float(int(key) - int(position[m]));
    return logit;
  }
  // Only of keys that are seen: cells beyond the mask may not be read.
  GPU_FN float cell(uint key, int m) const {
    return mask_cell(mask, cells[m] + key, mask_type) * kLog2E;
  }
};

template <typename T, class S, bool kPlain>
class Rows {
 public:
  static constexpr bool kShared = S::kOwnKeys < S::kKeys;
  static constexpr int kKeyTiles = S::kOwnKeys / 8, kOutTiles = S::kShareDim / 8;
  static constexpr int kParts = S::kOwnKeys / 16;
  static constexpr int kCount = 2 * S::kRowTiles;  // rows of a lane: g + 8 m
  typedef TileRules<kCount> Rules;

  // What the rows of a simdgroup have in threadgroup memory; weights, board: if they are shared.
  struct Places {
    uint queries;
    const float* undo;
    const SeenKeys* seen;
    uchar* weights;
    float* board;  // [share][row]
    uint group, share;
  };

  GPU_FN Rows(const Places& places, const GpuAttnPrefill& p) : at_(places) {
    UNROLL for (int m = 0; m < kCount; m++) {
      shift_[m] = kRoom - kLeastReference;
      total_[m] = 0.0f;
    }
    UNROLL for (int m = 0; m < kScales; m++) {
      scale_[m] = p.softmax_scale * kLog2E;
      if constexpr (S::kTerms > 1) scale_[m] *= at_.undo[LANE / 4 + 8 * m];
    }
    UNROLL for (int i = 0; i < kOutTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) out_[i][j] = 0.0f;
    }
  }
  // Of row g + 8 m: the reference, and the sum of weights relative to it.
  GPU_FN float reference(int m) const { return kRoom - shift_[m]; }
  GPU_FN float total(int m) const { return total_[m] * kPerRoom; }
  // Elements 8 tile + 2t and the next one of the share; 2^kRoom times what they stand for.
  GPU_FN float2 output(int tile, int m) const {
    return make_float2(out_[tile][2 * m], out_[tile][2 * m + 1]);
  }

  // q k for this simdgroup's keys of the tile at `k`.
  template <int kFirst = 0, int kSteps = S::kDim / 16>
  GPU_FN void score(uint k) {
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) z_[i][j] = 0.0f;
    }
    const uint k_at = k + (own_key() + LANE % 8 + LANE / 16 * 8) * S::kPitch + LANE / 8 % 2 * 16;
#pragma unroll(kSteps <= 16 ? kSteps : 8)
    for (int step = kFirst; step < kFirst + kSteps; step++) {
      Operand a;
      load<S::kPitch>(at_.queries + 32 * step, a);
      UNROLL for (int i = 0; i < kKeyTiles; i += 2) {
        uint b[4];
        load_matrices(k_at + 8 * i * S::kPitch + 32 * step, b);
        UNROLL for (int term = S::kTerms - 1; term >= 0; term--) {
          UNROLL for (int r = 0; r < S::kRowTiles; r++) {
            multiply(T(), z_[i] + 4 * r, a[r][term], b[0], b[1]);
            multiply(T(), z_[i + 1] + 4 * r, a[r][term], b[2], b[3]);
          }
        }
      }
    }
  }
  // The same of floats or codes. Of codes the elements of a norm are added up by themselves, of
  // long rows in terms each half: matrix units cut a sum to f32 at every step.
  GPU_FN void score_all(uint k, const Rules& rules) {
    constexpr int kRuns = S::kNorms == 2 || (S::kTerms > 1 && S::kDim > 256) ? 2 : 1;
    constexpr int kSteps = S::kDim / 16 / kRuns;
    score<0, kSteps>(k);
    if constexpr (S::kNorms > 0) multiply_norms(rules.k_norms);
    if constexpr (kRuns == 2) {
      float rest[kKeyTiles][2 * kCount];
      UNROLL for (int i = 0; i < kKeyTiles; i++) {
        UNROLL for (int j = 0; j < 2 * kCount; j++) rest[i][j] = z_[i][j];
      }
      score<kSteps, kSteps>(k);
      if constexpr (S::kNorms == 2) multiply_norms(rules.k_norms + S::kKeys);
      UNROLL for (int i = 0; i < kKeyTiles; i++) {
        UNROLL for (int j = 0; j < 2 * kCount; j++) z_[i][j] += rest[i][j];
      }
    }
  }
  // What lies between scores and weights, of the tile of keys first .. first + kKeys. all_seen: by
  // every row.
  GPU_FN void settle(uint first, bool all_seen, const Rules& rules) {
    if constexpr (!kPlain) shape(first, rules);
    if (!all_seen) hide(first, rules);
    if (fresh_) begin(rules);
  }
  // Weights times V.
  GPU_FN void add(uint v, const Rules& rules) {
    const uint v_at = v + at_.share * 2 * S::kShareDim + (LANE % 8 + LANE / 8 % 2 * 8) * S::kPitch +
                      LANE / 16 * 16;
    if constexpr (kShared) {
      Part parts[kParts];
      UNROLL for (int k = 0; k < kParts; k++) {
        weigh(k, parts[k], rules);
        put_weights(k, parts[k].a);
      }
      if (check(0, parts, rules)) {
        UNROLL for (int k = 0; k < kParts; k++) put_weights(k, parts[k].a);
        any_of_group(false);
      }
      UNROLL for (int k = 0; k < S::kKeys / 16; k++) {
        Operand a;
        load<S::kWeightPitch>(shared_address(at_.weights) + 32 * k, a);
        add_part(v_at + 16 * k * S::kPitch, a);
      }
    } else {
      Part part[2][1];
      weigh(0, part[0][0], rules);
      check(0, part[0], rules);
      UNROLL for (int k = 0; k < kParts; k++) {
        if (k + 1 < kParts) weigh(k + 1, part[(k + 1) % 2][0], rules);
        add_part(v_at + 16 * k * S::kPitch, part[k % 2][0].a);
        if (k + 1 < kParts) check(k + 1, part[(k + 1) % 2], rules);
      }
    }
  }
  // Adds the elements that clear_nonfinite() took out of the tile to the rows that see them. v: of
  // element 0 of the head's first slot. row, page: elements from a row or page to the next.
  GPU_FN void add_nonfinite(const uchar* v, uint row, uint page, uint first,
                            const KeyPlaces<kPlain>& places, const Rules& rules) {
#pragma unroll 1
    for (uint key = 0; key < S::kKeys; key++) {
      uint block, slot;
      if (!places.find(first, key, &block, &slot)) continue;
      bool sees[kCount];
      UNROLL for (int m = 0; m < kCount; m++) {
        const SeenKeys seen = at_.seen[LANE / 4 + 8 * m];
        sees[m] = first + key >= seen.lo && first + key < seen.hi;
        if constexpr (!kPlain) {
          if (sees[m] && rules.mask != nullptr) sees[m] = rules.cell(first + key, m) != -INFINITY;
        }
      }
      const uchar* const from = v + 2 * (ulong(block) * page + ulong(slot) * row) +
                                2 * (at_.share * S::kShareDim + LANE % 4 * 2);
      UNROLL for (int i = 0; i < kOutTiles; i++) {
        const float2 pair = unpack2(*reinterpret_cast<const uint*>(from + 16 * i), T());
        const float x = isfinite(pair.x) ? 0.0f : pair.x, y = isfinite(pair.y) ? 0.0f : pair.y;
        UNROLL for (int m = 0; m < kCount; m++) {
          out_[i][2 * m] += sees[m] ? x : 0.0f;
          out_[i][2 * m + 1] += sees[m] ? y : 0.0f;
        }
      }
    }
  }
  // After each tile, whether or not its keys are seen.
  GPU_FN void even_out() {
    if constexpr (kShared && kEvenMeetings) {
      while (met_ < kMostMeetings) any_of_group(false);
      met_ = 0;
    }
  }
  GPU_FN void finish() {
    UNROLL for (int m = 0; m < kCount; m++) {
      UNROLL for (int o = 1; o < 4; o *= 2) total_[m] += __shfl_xor_sync(~0u, total_[m], o);
      post(m, total_[m]);
    }
    any_of_group(false);
    UNROLL for (int m = 0; kShared && m < kCount; m++) {
      total_[m] = 0.0f;
      UNROLL for (int s = 0; s < S::kShares; s++) total_[m] += posted(s, m);
    }
  }

 private:
  static constexpr int kScales = S::kTerms > 1 ? kCount : 1;
  typedef uint Operand[S::kRowTiles][S::kTerms][4];

  // The weights of 16 keys as operands, and this lane's sums of them.
  struct Part {
    Operand a;
    float sum[kCount];
    float fill[kCount];  // of codes: sums of products with norms, and of weights next to infinite
  };

  // 16 elements of the terms of the rows, from those of the first row on.
  template <int kPitch>
  GPU_FN static void load(uint from, Operand& a) {
    UNROLL for (int r = 0; r < S::kRowTiles; r++) {
      UNROLL for (int term = 0; term < S::kTerms; term++) {
        const uint row = term * S::kRows + 16 * r + LANE % 16;
        load_matrices(from + row * kPitch + LANE / 16 * 16, a[r][term]);
      }
    }
  }
  // Values of keys 8 tile + 2t and the next one.
  GPU_FN static float2 of_keys(const float* values, int tile) {
    return *reinterpret_cast<const float2*>(values + 8 * tile + LANE % 4 * 2);
  }
  GPU_FN void multiply_norms(const float* norms) {
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      const float2 norm = of_keys(norms, i);
      UNROLL for (int j = 0; j < 2 * kCount; j++) z_[i][j] *= j % 2 == 0 ? norm.x : norm.y;
    }
  }
  // A score, of codes that of the weight times the norm of V.
  GPU_FN float peak(int i, int j, const Rules& rules) const {
    if constexpr (S::kNorms == 0) return z_[i][j];
    const float2 exponents = of_keys(rules.v_norms + S::kNorms * S::kKeys, i);
    return z_[i][j] + (j % 2 == 0 ? exponents.x : exponents.y) / unit(j / 2, rules);
  }
  // The first key of this simdgroup in a tile.
  GPU_FN uint own_key() const { return kShared ? at_.share * S::kOwnKeys : 0; }
  GPU_FN float scale(int m) const { return scale_[S::kTerms > 1 ? m : 0]; }
  // What a settled score is to be multiplied by to be a logit.
  GPU_FN float unit(int m, const Rules& rules) const {
    return !kPlain && rules.shaped ? 1.0f : scale(m);
  }
  // Values of rows for the simdgroups that share them, from barrier to barrier.
  GPU_FN void post(int m, float value) const {
    if (kShared && LANE % 4 == 0) at_.board[at_.share * S::kWarpRows + LANE / 4 + 8 * m] = value;
  }
  GPU_FN float posted(int share, int m) const {
    return at_.board[share * S::kWarpRows + LANE / 4 + 8 * m];
  }
  // True if `flag` is in any lane of the simdgroups of these rows; a barrier of them.
  GPU_FN bool any_of_group(bool flag) const {
    if constexpr (!kShared) return __any_sync(~0u, flag);
    if constexpr (kEvenMeetings) met_++;
    uint any;
    asm volatile(
        "{.reg .pred p, q; setp.ne.u32 p, %1, 0; barrier.cta.red.or.pred.aligned q, %2, %3, p; "
        "selp.u32 %0, 1, 0, q;}"
        : "=r"(any)
        : "r"(uint(flag)), "r"(at_.group + 1), "n"(32 * S::kShares)
        : "memory");
    return any != 0;
  }

  GPU_FN void shape(uint first, const Rules& rules) {
    const uint own = own_key() + LANE % 4 * 2;
    const ulong there = rules.there >> own;
    UNROLL for (int i = 0; i < kKeyTiles; i++) {
      UNROLL for (int j = 0; j < 2 * kCount; j++) {
        const uint at = 8 * i + j % 2;
        if (rules.shaped) z_[i][j] = rules.shape(z_[i][j] * scale(j / 2), first + own + at, j / 2);
        if ((there >> at & 1) == 0) z_[i][j] = -INFINITY;
      }
    }
  }
  GPU_FN void hide(uint first, const Rules& rules) {
    UNROLL for (int m = 0; m < kCount; m++) {
      const SeenKeys seen = at_.seen[LANE / 4 + 8 * m];
      const uint key = first + own_key() + LANE % 4 * 2;
      const int lo = int(seen.lo - key), hi = int(seen.hi - key);
      const float per_unit = kPlain ? 0.0f : 1.0f / unit(m, rules);
      UNROLL for (int i = 0; i < kKeyTiles; i++) {
        UNROLL for (int j = 0; j < 2; j++) {
          float& z = z_[i][2 * m + j];
          if (8 * i + j < lo || 8 * i + j >= hi) {
            z = -INFINITY;
          } else if constexpr (!kPlain) {
            if (rules.mask != nullptr) {
              const float cell = rules.cell(key + 8 * i + j, m);
              z = cell == -INFINITY ? cell : z + cell * per_unit;
            }
          }
        }
      }
    }
  }
  // References of the rows that see their first keys in this tile.
  GPU_FN void begin(const Rules& rules) {
    constexpr float kFresh = kRoom - kLeastReference;
    bool fresh[kCount], any = false;
    UNROLL for (int m = 0; m < kCount; m++) fresh[m] = shift_[m] == kFresh;
    lift<kParts>(0, fresh, rules);
    UNROLL for (int m = 0; m < kCount; m++) any = any || shift_[m] == kFresh;
    fresh_ = __any_sync(~0u, any);
  }
  // kSelect: norms that are not finite do nothing to keys that are not seen.
  template <bool kSelect = false>
  GPU_FN void weigh(int k, Part& part, const Rules& rules) const {
    UNROLL for (int r = 0; r < S::kRowTiles; r++) {
      UNROLL for (int j = 0; j < 4; j++) {  // rows g and g + 8 of keys 2t, then of keys 2t + 8
        const int m = 2 * r + j % 2;
        const float* const z = z_[2 * k + j / 2] + 2 * m;
        float x = fast_exp2(fmaf(z[0], unit(m, rules), shift_[m]));
        float y = fast_exp2(fmaf(z[1], unit(m, rules), shift_[m]));
        part.sum[m] = j < 2 ? x + y : part.sum[m] + (x + y);
        if constexpr (S::kNorms > 0) {
          const float2 norm = of_keys(rules.v_norms, 2 * k + j / 2);
          const float large = (x + y) * 0x1p-80f;
          if (!kSelect || x != 0.0f) x *= norm.x;
          if (!kSelect || y != 0.0f) y *= norm.y;
          part.fill[m] = (j < 2 ? large : part.fill[m] + large) + (fabsf(x) + fabsf(y));
        }
        UNROLL for (int term = 0; term < S::kTerms; term++) {
          part.a[r][term][j] = pack2(x, y, T());
          if (term + 1 < S::kTerms) {
            const float2 taken = unpack2(part.a[r][term][j], T());
            x -= taken.x;
            y -= taken.y;
          }
        }
      }
    }
  }
  // The rows of which a sum of this lane is too large for the type of weights; true if any is.
  template <int kChecked>
  GPU_FN static bool find_full(const Part (&parts)[kChecked], bool (&full)[kCount]) {
    bool any = false;
    UNROLL for (int m = 0; m < kCount; m++) {
      full[m] = false;
      UNROLL for (int n = 0; n < kChecked; n++) {
        full[m] = full[m] || !((S::kNorms > 0 ? parts[n].fill : parts[n].sum)[m] <= kFull);
      }
      any = any || full[m];
    }
    return any;
  }
  // Adds up the sums. True if one was too large and the keys were weighed anew.
  template <int kChecked>
  GPU_FN bool check(int k, Part (&parts)[kChecked], const Rules& rules) {
    bool full[kCount], any = find_full(parts, full);
    any = any_of_group(any);
    if (any) {
      if constexpr (S::kNorms > 0) {
        UNROLL for (int n = 0; n < kChecked; n++) weigh<true>(k + n, parts[n], rules);
        find_full(parts, full);
      }
      UNROLL for (int m = 0; m < kCount; m++) {
        full[m] = (__ballot_sync(~0u, full[m]) >> (LANE & 28) & 15) != 0;
      }
      lift<kChecked>(k, full, rules);
      UNROLL for (int n = 0; n < kChecked; n++) weigh<(S::kNorms > 0)>(k + n, parts[n], rules);
    }
    UNROLL for (int n = 0; n < kChecked; n++) {
      UNROLL for (int m = 0; m < kCount; m++) total_[m] += parts[n].sum[m];
    }
    return any;
  }
  // Lifts the references of these rows to their largest logit among keys 16 k .. 16 (k + kLifted).
  template <int kLifted>
  GPU_FN void lift(int k, const bool (&lifted)[kCount], const Rules& rules) {
    float largest[kCount];
    UNROLL for (int m = 0; m < kCount; m++) {
      float most = -INFINITY;
      UNROLL for (int i = 2 * k; i < 2 * (k + kLifted); i++) {
        most = fmaxf(most, fmaxf(peak(i, 2 * m, rules), peak(i, 2 * m + 1, rules)));
      }
      UNROLL for (int o = 1; o < 4; o *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
      largest[m] = lifted[m] ? most * unit(m, rules) : -INFINITY;
      post(m, largest[m]);
    }
    any_of_group(false);
    UNROLL for (int m = 0; m < kCount; m++) {
      UNROLL for (int s = 1; kShared && s < S::kShares; s++) {
        largest[m] = fmaxf(largest[m], posted((at_.share + s) % S::kShares, m));
      }
      const float next = fminf(shift_[m], kRoom - largest[m]);
      const float keep = fast_exp2(next - shift_[m]);
      shift_[m] = next;
      total_[m] *= keep;
      UNROLL for (int i = 0; i < kOutTiles; i++) {
        out_[i][2 * m] *= keep;
        out_[i][2 * m + 1] *= keep;
      }
    }
  }
  GPU_FN void put_weights(int k, const Operand& a) const {
    uchar* const to =
        at_.weights + LANE / 4 * S::kWeightPitch + 2 * (own_key() + 16 * k) + LANE % 4 * 4;
    UNROLL for (int r = 0; r < S::kRowTiles; r++) {
      UNROLL for (int term = 0; term < S::kTerms; term++) {
        UNROLL for (int j = 0; j < 4; j++) {
          const int row = term * S::kRows + 16 * r + j % 2 * 8;
          *reinterpret_cast<uint*>(to + row * S::kWeightPitch + j / 2 * 16) = a[r][term][j];
        }
      }
    }
  }
  // Weights of 16 keys times their rows at v_at. Matrix units cut sums off, they do not round: with
  // the precision of several terms each product of 16 keys is a sum of its own.
  GPU_FN void add_part(uint v_at, const Operand& a) {
    UNROLL for (int i = 0; i < kOutTiles; i += 2) {
      uint b[4];
      load_transposed(v_at + 16 * i, b);
      UNROLL for (int r = 0; r < S::kRowTiles; r++) {
        UNROLL for (int n = 0; n < 2; n++) {
          float* const out = out_[i + n] + 4 * r;
          if constexpr (S::kTerms == 1) {
            multiply(T(), out, a[r][0], b[2 * n], b[2 * n + 1]);
          } else {
            float sum[4] = {};
            UNROLL for (int term = S::kTerms - 1; term >= 0; term--) {
              multiply(T(), sum, a[r][term], b[2 * n], b[2 * n + 1]);
            }
            UNROLL for (int j = 0; j < 4; j++) out[j] += sum[j];
          }
        }
      }
    }
  }

  Places at_;
  // In a tile: in begin(), twice in check(), behind it.
  static constexpr uint kMostMeetings = 4;

  bool fresh_ = true;
  mutable uint met_ = 0;  // since even_out()
  float scale_[kScales];
  float shift_[kCount];  // kRoom less the reference
  float total_[kCount];
  float z_[kKeyTiles][2 * kCount];
  float out_[kOutTiles][2 * kCount];
};

}  // namespace kernels_attn_prefill_mma
}  // namespace gpu
}  // namespace mlxn
