// SPDX-License-Identifier: Apache-2.0
// What the draw is made of. Masses are integers (e^(x - max) in units of 1 / mass_one), so that
// their sums do not depend on an order and equal ones are equal. Included by gpu.h.
#pragma once
#include "kernels/common/gpu_rank.h"
#include "kernels/sample/gpu_args.h"

GPU_LIBRARY_BEGIN

// ---- 64-bit integers across lanes ----

GPU_FN ulong simd_shuffle_ulong(ulong v, uint lane) {
  return ulong(simd_shuffle(uint(v >> 32), lane)) << 32 | simd_shuffle(uint(v), lane);
}
GPU_FN ulong simd_add(ulong v, uint lane) {
  UNROLL for (uint o = 16; o > 0; o /= 2) v = v + simd_shuffle_ulong(v, lane ^ o);
  return v;
}
// The sum up to and including this lane.
GPU_FN ulong simd_prefix_add(ulong v, uint lane) {
  UNROLL for (uint o = 1; o < 32; o *= 2) {
    const ulong before = simd_shuffle_ulong(v, lane >= o ? lane - o : lane);
    if (lane >= o) v = v + before;
  }
  return v;
}
// The sum over the threadgroup; `sums` is SHARED(ulong, .., 32), free again after a barrier.
GPU_FN ulong group_add(ulong v, THREADGROUP ulong* sums, uint lane, uint simd, uint simds) {
  v = simd_add(v, lane);
  if (lane == 0) sums[simd] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_add(lane < simds ? sums[lane] : 0, lane);
}

// ---- Philox4x32-10, as philox.h ----

GPU_FN uint high_product(uint a, uint b) { return uint((ulong(a) * b) >> 32); }

// The upper 32 bits of the uniform number of a draw.
GPU_FN uint draw_uniform(uint seed_low, uint seed_high, uint sequence, uint position_low,
                         uint position_high) {
  uint c0 = position_low, c1 = position_high, c2 = sequence, c3 = 0;
  for (int round = 0; round < 10; round++) {
    const uint a_high = high_product(0xd2511f53u, c0), a_low = 0xd2511f53u * c0;
    const uint b_high = high_product(0xcd9e8d57u, c2), b_low = 0xcd9e8d57u * c2;
    c0 = b_high ^ c1 ^ seed_low;
    c1 = b_low;
    c2 = a_high ^ c3 ^ seed_high;
    c3 = a_low;
    seed_low = seed_low + 0x9e3779b9u;
    seed_high = seed_high + 0xbb67ae85u;
  }
  return c0;
}

// ---- masses ----

// e^((x - max) / temperature) as an integer; the largest element has all of `one`, also where a
// tiny temperature is 0 to the device.
GPU_FN ulong mass_of(float x, float largest, float temperature, float one) {
  return ulong((x == largest ? 1.0f : exp((x - largest) / temperature)) * one);
}

// floor(a * m / 2^shift) for a < 2^62, m < 2^24, shift >= 24 and a result below 2^62.
GPU_FN ulong scale_mass(ulong a, uint m, uint shift) {
  const ulong low = (a & 0xffffffffu) * m;
  const ulong high = (a >> 32) * m + (low >> 32);
  if (shift >= 96) return 0;
  if (shift >= 32) return high >> (shift - 32);
  return high << (32 - shift) | (low & 0xffffffffu) >> shift;
}

// floor(top_p * a) for 0 < top_p < 1.
GPU_FN ulong part_of(float top_p, ulong a) {
  const uint bits = as_uint(top_p), exponent = bits >> 23;
  const uint mantissa = exponent == 0 ? bits : (bits & 0x7fffffu) | 0x800000u;
  return scale_mass(a, mantissa, 150 - max(exponent, 1u));
}

// Where the threads of a sequence find its row.
struct SampleRow {
  DEVICE const float* x;
  uint begin, end;  // of this simdgroup
  uint lane, simd, simds;
  float largest;
  float one;
};

enum { kDigits = 15 };  // thresholds tried at a time: four bits

// The largest rank T for which the elements of rank T and above weigh `wanted` or more; all
// elements do. Elements weigh their mass at temperature 1, or 1 each. `sums` is SHARED(ulong, ..,
// 32 * 16).
GPU_FN uint find_threshold(THREAD const SampleRow& row, bool by_mass, ulong wanted,
                           THREADGROUP ulong* sums) {
  uint found = 0;
  for (int shift = 28; shift >= 0; shift -= 4) {
    ulong above[kDigits];
    UNROLL for (int j = 0; j < kDigits; j++) above[j] = 0;
    for (uint at = row.begin + row.lane; at < row.end; at += SIMD_WIDTH) {
      const float v = row.x[at];
      const uint rank = rank_bits(v);
      const ulong weight = by_mass ? mass_of(v, row.largest, 1.0f, row.one) : 1;
      UNROLL for (int j = 0; j < kDigits; j++) {
        if (rank >= (found | uint(j + 1) << shift)) above[j] = above[j] + weight;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    UNROLL for (int j = 0; j < kDigits; j++) {
      const ulong sum = simd_add(above[j], row.lane);
      if (row.lane == 0) sums[row.simd * 16 + j] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ulong total = 0;  // lane j: of threshold j
    if (row.lane < uint(kDigits)) {
      for (uint s = 0; s < row.simds; s++) total = total + sums[s * 16 + row.lane];
    }
    const bool enough = row.lane < uint(kDigits) && total >= wanted;
    found = found | simd_max(enough ? row.lane + 1 : 0u) << shift;
  }
  return found;
}

// What the elements above a rank weigh (first) and how many have it (second).
GPU_FN void weigh_above(THREAD const SampleRow& row, bool by_mass, uint threshold,
                        THREADGROUP ulong* sums, THREAD ulong* above, THREAD ulong* ties) {
  ulong weight = 0, count = 0;
  for (uint at = row.begin + row.lane; at < row.end; at += SIMD_WIDTH) {
    const float v = row.x[at];
    const uint rank = rank_bits(v);
    if (rank > threshold) {
      weight = weight + (by_mass ? mass_of(v, row.largest, 1.0f, row.one) : 1);
    }
    if (rank == threshold) count = count + 1;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  *above = group_add(weight, sums, row.lane, row.simd, row.simds);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  *ties = group_add(count, sums, row.lane, row.simd, row.simds);
}

// What the filters keep: ranks above `threshold`, and the first `ties` elements that have it.
struct Kept {
  uint threshold;
  ulong ties;
  bool limits_ties;
};

GPU_FN Kept apply_filters(THREAD const SampleRow& row, uint vocab, int top_k, float top_p,
                          ulong total, THREADGROUP ulong* sums) {
  Kept kept;
  kept.threshold = 0;
  kept.ties = vocab;
  kept.limits_ties = false;
  ulong above = 0, ties = 0;
  if (top_k > 0 && uint(top_k) < vocab) {
    kept.threshold = find_threshold(row, false, ulong(top_k), sums);
    weigh_above(row, false, kept.threshold, sums, &above, &ties);
    kept.ties = ulong(top_k) - above;
    kept.limits_ties = true;
  }
  if (top_p >= 1.0f) return kept;
  // A tie's mass follows from the rank; all of them have the same.
  const uint bits = kept.threshold;
  ulong tie_mass = 0;
  if (kept.limits_ties) {
    weigh_above(row, true, kept.threshold, sums, &above, &ties);
    const float value = as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
    tie_mass = bits == 0 ? 0 : mass_of(value, row.largest, 1.0f, row.one);
    total = above + kept.ties * tie_mass;
  }
  const ulong wanted = max(part_of(top_p, total), ulong(1));
  if (!kept.limits_ties || above >= wanted) {
    kept.threshold = find_threshold(row, true, wanted, sums);
    weigh_above(row, true, kept.threshold, sums, &above, &ties);
    const uint found = kept.threshold;
    const float value = as_float((found & 0x80000000u) != 0 ? found & 0x7fffffffu : ~found);
    tie_mass = found == 0 ? 0 : mass_of(value, row.largest, 1.0f, row.one);
    kept.ties = ties;
    kept.limits_ties = true;
  }
  // As few ties as reach the wanted mass.
  if (tie_mass > 0) {
    const ulong missing = wanted > above ? wanted - above : 0;
    kept.ties = min(kept.ties, (missing + tie_mass - 1) / tie_mass);
  }
  return kept;
}

GPU_LIBRARY_END
