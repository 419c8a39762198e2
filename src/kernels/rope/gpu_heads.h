// SPDX-License-Identifier: Apache-2.0
// How a simdgroup norms and rotates the heads of one token. 4 to 32 lanes share a head; a lane has
// P pairs of each of K heads in registers, and reads again what the lanes cannot hold. Included by
// gpu.h.
#pragma once
#include "kernels/common/gpu_math.h"
#include "kernels/common/gpu_rows.h"
#include "kernels/rope/gpu_args.h"

GPU_LIBRARY_BEGIN

enum : uint { kNoElement = 0xffffffffu };

// Elements of a head are walked in pairs, and P of them are a group: the pairs that may be rotated,
// then what is behind them, first half and second half.
struct HeadWalk {
  bool halves;      // all are half a head apart and aligned, and every group is whole
  bool neighbours;  // the same of pairs of neighbours
  bool vectors;     // one of both
  bool rotates;
  uint half_dim;  // from the first to the second element of a pair; 0: neighbours
  uint units;     // pairs that may be rotated
  uint unit_groups;
  uint tail;  // elements behind them
  uint tail_half;
  uint groups;  // of both
  uint lanes;   // that share a head: a power of two
};

template <int P>
GPU_FN HeadWalk head_walk(bool halves, bool neighbours, bool rotates, uint lanes,
                          CONSTANT GpuRope& p) {
  HeadWalk w;
  w.halves = halves;
  w.neighbours = neighbours;
  w.vectors = halves || neighbours;
  w.rotates = rotates;
  w.half_dim = halves ? p.head_dim / 2 : p.half_dim;
  w.units = w.vectors ? p.head_dim / 2 : rotates ? p.units : 0;
  w.unit_groups = (w.units + P - 1) / P;
  w.tail = p.head_dim - 2 * w.units;
  w.tail_half = (w.tail + 1) / 2;
  w.groups = w.unit_groups + (w.tail_half + P - 1) / P;
  w.lanes = lanes;
  return w;
}

// Where the first, or second, element of pair j of a group lies, if there is one.
template <int P>
GPU_FN uint place_of(THREAD const HeadWalk& w, uint group, uint j, bool second) {
  if (group < w.unit_groups) {
    const uint unit = P * group + j, apart = w.half_dim != 0 ? w.half_dim : 1;
    if (unit >= w.units) return kNoElement;
    return (w.half_dim != 0 ? unit : 2 * unit) + (second ? apart : 0);
  }
  const uint at = P * (group - w.unit_groups) + j;
  if (at >= (second ? w.tail - w.tail_half : w.tail_half)) return kNoElement;
  return 2 * w.units + at + (second ? w.tail_half : 0);
}

template <int P, typename T>
GPU_FN void load_group(DEVICE const T* row, uint group, THREAD const HeadWalk& w, THREAD float* a,
                       THREAD float* b) {
  if (w.halves) {
    load_vec<P>(row + P * group, a);
    load_vec<P>(row + P * group + w.half_dim, b);
  } else if (w.neighbours) {
    float pairs[2 * P];
    load_vec<2 * P>(row + 2 * P * group, pairs);
    UNROLL for (int j = 0; j < P; j++) {
      a[j] = pairs[2 * j];
      b[j] = pairs[2 * j + 1];
    }
  } else {
    UNROLL for (int j = 0; j < P; j++) {
      const uint first = place_of<P>(w, group, j, false), second = place_of<P>(w, group, j, true);
      a[j] = first != kNoElement ? float(row[first]) : 0.0f;
      b[j] = second != kNoElement ? float(row[second]) : 0.0f;
    }
  }
}
// Out is a pointer to elements To in device or threadgroup memory.
template <int P, typename To, typename Out>
GPU_FN void store_group(Out row, uint group, THREAD const HeadWalk& w, THREAD const float* a,
                        THREAD const float* b) {
  if (w.halves) {
    store_vec<P>(row + P * group, a);
    store_vec<P>(row + P * group + w.half_dim, b);
  } else if (w.neighbours) {
    float pairs[2 * P];
    UNROLL for (int j = 0; j < P; j++) {
      pairs[2 * j] = a[j];
      pairs[2 * j + 1] = b[j];
    }
    store_vec<2 * P>(row + 2 * P * group, pairs);
  } else {
    UNROLL for (int j = 0; j < P; j++) {
      const uint first = place_of<P>(w, group, j, false), second = place_of<P>(w, group, j, true);
      if (first != kNoElement) row[first] = To(a[j]);
      if (second != kNoElement) row[second] = To(b[j]);
    }
  }
}

// What the pairs of a group are multiplied by; it is the same for all heads.
template <int P>
struct PairFactors {
  float c[P], s[P];    // cosine and sine
  float wa[P], wb[P];  // weights, the offset added
  uint rotated;        // pairs, the first of the group; in a walk of vectors all or none
};

// What is read of them: frequencies in place of cosines. Neither waits for the other nor for the
// position.
template <int P, bool kNorm, typename W>
GPU_FN void load_factors(DEVICE const W* weight, bool has_weight, DEVICE const float* inv_freq,
                         uint group, THREAD const HeadWalk& w, CONSTANT GpuRope& p,
                         THREAD PairFactors<P>& f) {
  UNROLL for (int j = 0; j < P; j++) f.c[j] = f.wa[j] = f.wb[j] = 0.0f;
  if (w.rotates && w.vectors) {
    load_vec<P>(inv_freq + min(P * group, p.pairs - P), f.c);
  } else if (w.rotates) {
    UNROLL for (int j = 0; j < P; j++) f.c[j] = inv_freq[min(P * group + j, p.pairs - 1)];
  }
  if (kNorm && has_weight) load_group<P>(weight, group, w, f.wa, f.wb);
}
template <int P>
GPU_FN void finish_factors(int position, uint group, THREAD const HeadWalk& w, CONSTANT GpuRope& p,
                           THREAD PairFactors<P>& f) {
  // Position 0 rotates by nothing: elements stay exactly as they are.
  const uint first = P * group, pairs = w.rotates && position != 0 ? p.pairs : 0;
  f.rotated = first < pairs ? min(pairs - first, uint(P)) : 0;
  UNROLL for (int j = 0; j < P; j++) {
    sin_cos(float(position) * f.c[j], f.s + j, f.c + j);
    f.wa[j] = p.weight_offset + f.wa[j];
    f.wb[j] = p.weight_offset + f.wb[j];
  }
}

// a and b of a group, normed and rotated, to their places.
template <int P, bool kNorm, typename To, typename Out>
GPU_FN void finish_group(Out row, uint group, THREAD const HeadWalk& w, bool has_weight,
                         float inverse_rms, THREAD const PairFactors<P>& f, THREAD float* a,
                         THREAD float* b) {
  UNROLL for (int j = 0; j < P; j++) {
    if (kNorm) {
      a[j] = a[j] * inverse_rms;
      b[j] = b[j] * inverse_rms;
      if (has_weight) a[j] = a[j] * f.wa[j];
      if (has_weight) b[j] = b[j] * f.wb[j];
    }
    const float first = a[j], second = b[j];
    const bool rotates = w.vectors ? f.rotated != 0 : uint(j) < f.rotated;
    a[j] = rotates ? fma(first, f.c[j], -(second * f.s[j])) : first;
    b[j] = rotates ? fma(first, f.s[j], second * f.c[j]) : second;
  }
  store_group<P, To>(row, group, w, a, b);
}

template <int P>
GPU_FN float sum_squares(THREAD const float* a, THREAD const float* b, float sum) {
  UNROLL for (int j = 0; j < P; j++) sum = fma(a[j], a[j], fma(b[j], b[j], sum));
  return sum;
}

// 1 / sqrt(mean + eps) of each head; `sums` are a lane's parts of their sums of squares. The heads
// take turns at every step, so that none waits for its own.
template <int K>
GPU_FN void inverse_rms_of(THREAD float* sums, uint lanes, CONSTANT GpuRope& p) {
  UNROLL for (uint apart = SIMD_WIDTH / 2; apart > 0; apart /= 2) {
    float others[K];
    UNROLL for (int k = 0; k < K; k++) others[k] = simd_shuffle_xor(sums[k], apart);
    UNROLL for (int k = 0; k < K; k++) sums[k] = sums[k] + (apart < lanes ? others[k] : 0.0f);
  }
  UNROLL for (int k = 0; k < K; k++) sums[k] = rsqrt(sums[k] * p.inverse_dim + p.eps);
}

// Heads 0 .. heads - 1 at x to out, where they are out_stride apart; a lane has K of them under
// way, one where a head is more than the lanes hold. Without `norms` the root mean square is taken
// for 1.
template <int P, int K, bool kNorm, typename To, typename T, typename W, typename Out>
GPU_FN void rope_heads(DEVICE const T* x, DEVICE const W* weight, bool has_weight, bool norms,
                       DEVICE const float* inv_freq, int position, Out out, ulong out_stride,
                       uint heads, THREAD const HeadWalk& w, uint lane, CONSTANT GpuRope& p) {
  const uint slot = lane / w.lanes, slots = SIMD_WIDTH / w.lanes, place = lane % w.lanes;
  const uint group = min(place, w.groups - 1);
  // 16-bit heads of vectors have a lane for every group.
  const bool more = !(sizeof(T) == 2 && w.vectors) && w.groups > w.lanes;
  PairFactors<P> factors;
  load_factors<P, kNorm>(weight, has_weight, inv_freq, group, w, p, factors);
  DEVICE const T* from = x + ulong(slot) * p.head_dim;
  for (uint h = slot; h < heads + slot; h += K * slots) {
    const bool mine = h < heads && place < w.groups;
    float a[K][P], b[K][P], inverse[K];
    // No branch stands between the loads: in place of a head that is not there the first is read.
    UNROLL for (int k = 0; mine && k < K; k++) {
      const uint apart = h + k * slots < heads ? k * slots : 0;
      load_group<P>(from + apart * p.head_dim, group, w, a[k], b[k]);
    }
    if (h == slot) finish_factors<P>(position, group, w, p, factors);
    if (kNorm) {
      UNROLL for (int k = 0; k < K; k++) {
        inverse[k] = mine ? sum_squares<P>(a[k], b[k], 0.0f) : 0.0f;
        for (uint at = group + w.lanes; more && norms && mine && at < w.groups; at += w.lanes) {
          float c[P], d[P];
          load_group<P>(from + k * slots * p.head_dim, at, w, c, d);
          inverse[k] = sum_squares<P>(c, d, inverse[k]);
        }
      }
      inverse_rms_of<K>(inverse, w.lanes, p);
    }
    UNROLL for (int k = 0; k < K; k++) {
      const bool writes = mine && h + k * slots < heads;
      Out to = out + (h + k * slots) * out_stride;
      if (!norms) inverse[k] = 1.0f;
      if (writes) {
        finish_group<P, kNorm, To>(to, group, w, has_weight, inverse[k], factors, a[k], b[k]);
      }
      for (uint at = group + w.lanes; more && writes && at < w.groups; at += w.lanes) {
        PairFactors<P> f;
        load_factors<P, kNorm>(weight, has_weight, inv_freq, at, w, p, f);
        load_group<P>(from + k * slots * p.head_dim, at, w, a[k], b[k]);
        finish_factors<P>(position, at, w, p, f);
        finish_group<P, kNorm, To>(to, at, w, has_weight, inverse[k], f, a[k], b[k]);
      }
    }
    from += K * slots * p.head_dim;
  }
}

GPU_LIBRARY_END
