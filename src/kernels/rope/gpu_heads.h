// SPDX-License-Identifier: Apache-2.0
// How a simdgroup norms and rotates the heads of one token. 4 to 32 lanes share a head; a lane has
// a group of pairs of kHeads heads at a time in registers, of heads above 256 elements the first
// 256, and reads the others again. Included by gpu.h.
#pragma once
#include "kernels/common/gpu_math.h"
#include "kernels/common/gpu_rows.h"
#include "kernels/rope/gpu_args.h"

GPU_LIBRARY_BEGIN

enum : uint { kNoElement = 0xffffffffu };
enum { kPairs = 4 };  // of a group

// Elements of a head are walked in pairs, and kPairs of them are a group: the pairs that may be
// rotated, then what is behind them, first half and second half.
struct HeadWalk {
  bool halves;    // all are half a head apart and aligned, and every group is whole
  uint half_dim;  // from the first to the second element of a pair; 0: neighbours
  uint units;     // pairs that may be rotated
  uint unit_groups;
  uint tail;  // elements behind them
  uint tail_half;
  uint groups;  // of both
  uint lanes;   // that share a head: a power of two
};

GPU_FN HeadWalk head_walk(bool halves, uint head_dim, uint units, uint half_dim, uint lanes) {
  HeadWalk w;
  w.halves = halves;
  w.half_dim = halves ? head_dim / 2 : half_dim;
  w.units = halves ? head_dim / 2 : units;
  w.unit_groups = (w.units + kPairs - 1) / kPairs;
  w.tail = head_dim - 2 * w.units;
  w.tail_half = (w.tail + 1) / 2;
  w.groups = w.unit_groups + (w.tail_half + kPairs - 1) / kPairs;
  w.lanes = lanes;
  return w;
}

// Where the first, or second, element of pair j of a group lies, if there is one.
GPU_FN uint place_of(THREAD const HeadWalk& w, uint group, uint j, bool second) {
  if (group < w.unit_groups) {
    const uint unit = kPairs * group + j, apart = w.half_dim != 0 ? w.half_dim : 1;
    if (unit >= w.units) return kNoElement;
    return (w.half_dim != 0 ? unit : 2 * unit) + (second ? apart : 0);
  }
  const uint at = kPairs * (group - w.unit_groups) + j;
  if (at >= (second ? w.tail - w.tail_half : w.tail_half)) return kNoElement;
  return 2 * w.units + at + (second ? w.tail_half : 0);
}

template <typename T>
GPU_FN void load_group(DEVICE const T* row, uint group, THREAD const HeadWalk& w, THREAD float* a,
                       THREAD float* b) {
  if (w.halves) {
    load_vec<kPairs>(row + kPairs * group, a);
    load_vec<kPairs>(row + kPairs * group + w.half_dim, b);
    return;
  }
  UNROLL for (int j = 0; j < kPairs; j++) {
    const uint first = place_of(w, group, j, false), second = place_of(w, group, j, true);
    a[j] = first != kNoElement ? float(row[first]) : 0.0f;
    b[j] = second != kNoElement ? float(row[second]) : 0.0f;
  }
}
// Out is a pointer to elements To in device or threadgroup memory.
template <typename To, typename Out>
GPU_FN void store_group(Out row, uint group, THREAD const HeadWalk& w, THREAD const float* a,
                        THREAD const float* b) {
  if (w.halves) {
    store4(row + kPairs * group, make_float4(a[0], a[1], a[2], a[3]));
    store4(row + kPairs * group + w.half_dim, make_float4(b[0], b[1], b[2], b[3]));
    return;
  }
  UNROLL for (int j = 0; j < kPairs; j++) {
    const uint first = place_of(w, group, j, false), second = place_of(w, group, j, true);
    if (first != kNoElement) row[first] = To(a[j]);
    if (second != kNoElement) row[second] = To(b[j]);
  }
}

// What the pairs of a group are multiplied by; it is the same for all heads.
struct PairFactors {
  float c[kPairs], s[kPairs];    // cosine and sine
  float wa[kPairs], wb[kPairs];  // weights, the offset added
  uint rotated;                  // pairs, the first of the group
};

template <bool kNorm, typename W>
GPU_FN void load_factors(DEVICE const W* weight, bool has_weight, DEVICE const float* inv_freq,
                         float position, uint pairs, uint group, THREAD const HeadWalk& w,
                         CONSTANT GpuRope& p, THREAD PairFactors& f) {
  if (kNorm && has_weight) {
    load_group(weight, group, w, f.wa, f.wb);
    UNROLL for (int j = 0; j < kPairs; j++) {
      f.wa[j] = p.weight_offset + f.wa[j];
      f.wb[j] = p.weight_offset + f.wb[j];
    }
  }
  f.rotated = group < w.unit_groups && kPairs * group < pairs ? pairs - kPairs * group : 0;
  UNROLL for (int j = 0; j < kPairs; j++) {
    const float angle = uint(j) < f.rotated ? position * inv_freq[kPairs * group + j] : 0.0f;
    sin_cos(angle, f.s + j, f.c + j);
  }
}

// a and b of a group, normed and rotated, to their places.
template <bool kNorm, typename To, typename Out>
GPU_FN void finish_group(Out row, uint group, THREAD const HeadWalk& w, bool has_weight,
                         float inverse_rms, THREAD const PairFactors& f, THREAD float* a,
                         THREAD float* b) {
  UNROLL for (int j = 0; j < kPairs; j++) {
    if (kNorm) {
      a[j] = a[j] * inverse_rms;
      b[j] = b[j] * inverse_rms;
      if (has_weight) a[j] = a[j] * f.wa[j];
      if (has_weight) b[j] = b[j] * f.wb[j];
    }
    const float first = a[j], second = b[j];
    const bool rotates = uint(j) < f.rotated;
    a[j] = rotates ? fma(first, f.c[j], -(second * f.s[j])) : first;
    b[j] = rotates ? fma(first, f.s[j], second * f.c[j]) : second;
  }
  store_group<To>(row, group, w, a, b);
}

GPU_FN float sum_squares(THREAD const float* a, THREAD const float* b, float sum) {
  UNROLL for (int j = 0; j < kPairs; j++) sum = fma(a[j], a[j], fma(b[j], b[j], sum));
  return sum;
}

// sums[i] is a lane's part of the sum of squares of head i. Each becomes 1 / sqrt(mean + eps): a
// lane adds what half of the lanes have of half of the heads and sends the rest away, so that roots
// are taken once. The order of the additions depends on `lanes` only.
template <int kHeads>
GPU_FN void inverse_rms_of(THREAD float* sums, uint lanes, uint lane, CONSTANT GpuRope& p) {
  uint apart = lanes / 2;
  uint sources[kHeads];  // the lane with the sum of head i
  UNROLL for (int i = 0; i < kHeads; i++) sources[i] = lane & ~(lanes - 1);
  UNROLL for (int n = kHeads; n > 1; n /= 2) {
    const bool upper = (lane & apart) != 0;
    UNROLL for (int i = 0; i < n / 2; i++) {
      const float kept = upper ? sums[i + n / 2] : sums[i];
      const float sent = upper ? sums[i] : sums[i + n / 2];
      sums[i] = kept + simd_shuffle_xor(sent, apart);
    }
    UNROLL for (int i = 0; i < kHeads; i++) {
      if ((i & (n / 2)) != 0) sources[i] = sources[i] + apart;
    }
    apart = apart / 2;
  }
  float sum = sums[0];
  UNROLL for (uint o = SIMD_WIDTH / 2; o > 0; o /= 2) {
    const float other = simd_shuffle_xor(sum, o);
    if (o <= apart) sum = sum + other;
  }
  const float inverse = 1.0f / sqrt(sum * p.inverse_dim + p.eps);
  UNROLL for (int i = 0; i < kHeads; i++) sums[i] = simd_shuffle(inverse, sources[i]);
}

// Heads 0 .. heads - 1 at x to out, where they are out_stride apart. Without `norms` the root mean
// square is taken for 1.
template <int kHeads, bool kNorm, typename To, typename T, typename W, typename Out>
GPU_FN void rope_heads(DEVICE const T* x, DEVICE const W* weight, bool has_weight, bool norms,
                       DEVICE const float* inv_freq, float position, uint pairs, Out out,
                       ulong out_stride, uint heads, THREAD const HeadWalk& w, uint lane,
                       CONSTANT GpuRope& p) {
  const uint slot = lane / w.lanes, slots = SIMD_WIDTH / w.lanes, group = lane % w.lanes;
  PairFactors factors;
  for (uint h = slot; h < heads + slot; h += kHeads * slots) {
    // Head h + i * slots; a lane has its first one twice rather than one behind the last.
    const bool mine = group < w.groups && h < heads;
    float a[kHeads][kPairs], b[kHeads][kPairs];
    if (mine) {
      UNROLL for (int i = 0; i < kHeads; i++) {
        const uint head = h + i * slots < heads ? h + i * slots : h;
        load_group(x + ulong(head) * p.head_dim, group, w, a[i], b[i]);
      }
    }
    if (h == slot || w.groups > w.lanes) {
      load_factors<kNorm>(weight, has_weight && group < w.groups, inv_freq, position, pairs, group,
                          w, p, factors);
    }
    float inverse[kHeads];
    UNROLL for (int i = 0; i < kHeads; i++) {
      inverse[i] = kNorm && mine ? sum_squares(a[i], b[i], 0.0f) : 0.0f;
    }
    for (uint at = group + w.lanes; norms && mine && at < w.groups; at += w.lanes) {
      UNROLL for (int i = 0; i < kHeads; i++) {
        const uint head = h + i * slots < heads ? h + i * slots : h;
        float c[kPairs], d[kPairs];
        load_group(x + ulong(head) * p.head_dim, at, w, c, d);
        inverse[i] = sum_squares(c, d, inverse[i]);
      }
    }
    if (kNorm) inverse_rms_of<kHeads>(inverse, w.lanes, lane, p);
    for (uint at = group; mine && at < w.groups; at += w.lanes) {
      if (at != group) {
        load_factors<kNorm>(weight, has_weight, inv_freq, position, pairs, at, w, p, factors);
      }
      UNROLL for (int i = 0; i < kHeads; i++) {
        const uint head = h + i * slots;
        if (head >= heads) break;
        if (at != group) load_group(x + ulong(head) * p.head_dim, at, w, a[i], b[i]);
        finish_group<kNorm, To>(out + head * out_stride, at, w, has_weight,
                                norms ? inverse[i] : 1.0f, factors, a[i], b[i]);
      }
    }
  }
}

GPU_LIBRARY_END
