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
// In parts of 22, 22 and 20 bits, whose sums have 32.
GPU_FN ulong simd_add(ulong v) {
  const uint low = simd_sum(uint(v) & 0x3fffffu), middle = simd_sum(uint(v >> 22) & 0x3fffffu);
  return (ulong(simd_sum(uint(v >> 44))) << 44) + (ulong(middle) << 22) + low;
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
  v = simd_add(v);
  if (lane == 0) sums[simd] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_add(lane < simds ? sums[lane] : 0);
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
      const ulong sum = by_mass ? simd_add(above[j]) : simd_sum(uint(above[j]));
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

// ---- short lists ----

// The places of the bits that are set in `hits`, 32 to a word and a multiple of 4 words, by rising
// index: the first `capacity` to `listed`. Returns how many there are. `counts` is SHARED(uint, ..,
// 32).
GPU_FN uint list_hits(DEVICE const uint* hits, uint words, uint capacity, THREADGROUP uint* listed,
                      THREADGROUP uint* counts, uint lane, uint simd, uint simds) {
  constexpr uint kWords = 4;  // loaded together
  const uint each = (words / kWords + SIMD_WIDTH * simds - 1) / (SIMD_WIDTH * simds) * kWords;
  const uint begin = min((SIMD_WIDTH * simd + lane) * each, words), end = min(begin + each, words);
  uint at = 0, count = 0;
  for (uint pass = 0; pass < 2; pass++) {
    for (uint word = begin; word < end; word += kWords) {
      uint bits[kWords];
      UNROLL for (uint i = 0; i < kWords; i++) bits[i] = hits[word + i];
      UNROLL for (uint i = 0; i < kWords; i++) {
        for (; bits[i] != 0; bits[i] = bits[i] & (bits[i] - 1)) {
          // The exponent of a power of two.
          const uint bit = (as_uint(float(bits[i] & (0 - bits[i]))) >> 23) - 127;
          if (pass == 1 && at < capacity) listed[at] = 32 * (word + i) + bit;
          at++;
        }
      }
    }
    const uint of_simd = simd_sum(at);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (pass == 1) break;
    if (lane == 0) counts[simd] = of_simd;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint other = lane < simds ? counts[lane] : 0;
    count = simd_sum(other);
    at = simd_sum(lane < simd ? other : 0u) + simd_prefix_exclusive_sum(at);
  }
  return count;
}

// What the draw follows, besides the row.
struct DrawRule {
  float temperature, log_min_p, top_p;
  uint top_k;   // 0: off
  ulong total;  // what all elements of the row weigh, if only top_p filters
  uint uniform;
};

// What v weighs in the draw.
GPU_FN ulong drawn_mass(float v, float largest, THREAD const DrawRule& rule, float one) {
  return v - largest >= rule.log_min_p ? mass_of(v, largest, rule.temperature, one) : 0;
}

GPU_FN ulong draw_target(ulong total, uint uniform) {
  return (total >> 32) * uniform + (((total & 0xffffffffu) * uniform) >> 32);
}

// Whether the sum of the masses up to this thread is the first to pass *target, which then becomes
// what is left of it for this thread.
GPU_FN bool passes_target(ulong mass, THREADGROUP ulong* sums, uint lane, uint simd, uint simds,
                          THREAD ulong* target) {
  ulong upto = simd_prefix_add(mass, lane);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 31) sums[simd] = upto;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  upto = upto + simd_add(lane < simd ? sums[lane] : 0);
  const bool passes = upto > *target && upto - mass <= *target;
  if (passes) *target = *target - (upto - mass);
  return passes;
}

// Draws out of all elements, the masses of whose chunks are known. `chunk` and `rest` are
// SHARED(.., 1). True for the thread whose element, number THREAD_ID of the chunk, is drawn.
GPU_FN bool draw_chunked(THREAD const SampleRow& row, uint vocab, DEVICE const ulong* masses,
                         uint chunks, THREAD const DrawRule& rule, THREADGROUP uint* chunk,
                         THREADGROUP ulong* rest, THREADGROUP ulong* sums) {
  const uint self = SIMD_WIDTH * row.simd + row.lane, threads = SIMD_WIDTH * row.simds;
  const uint each = (chunks + threads - 1) / threads;
  const uint begin = min(self * each, chunks), end = min(begin + each, chunks);
  ulong mass = 0;
  for (uint i = begin; i < end; i++) mass = mass + masses[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  ulong target = group_add(mass, sums, row.lane, row.simd, row.simds);
  target = draw_target(target, rule.uniform);
  if (passes_target(mass, sums, row.lane, row.simd, row.simds, &target)) {
    uint i = begin;
    for (; masses[i] <= target; i++) target = target - masses[i];
    chunk[0] = i;
    rest[0] = target;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  target = rest[0];
  const uint at = chunk[0] * kGpuSampleChunk + self;
  const float v = self < kGpuSampleChunk && at < vocab ? row.x[at] : -INFINITY;
  return passes_target(drawn_mass(v, row.largest, rule, row.one), sums, row.lane, row.simd,
                       row.simds, &target);
}

// Whether this thread's element v is drawn out of a list of `count` by rising index, one to a
// thread, in which everything is that the filters keep. If it is not, as the list weighs too
// little, *found is set to false. `ranks` and `sums` have an element for every thread.
GPU_FN bool draw_listed(float v, float largest, uint count, THREAD const DrawRule& rule, float one,
                        THREADGROUP uint* ranks, THREADGROUP ulong* sums, uint lane, uint simd,
                        uint simds, THREAD bool* found) {
  const uint self = SIMD_WIDTH * simd + lane, rank = rank_bits(v);
  const ulong mass = self < count ? mass_of(v, largest, 1.0f, one) : 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  ranks[self] = rank;
  sums[self] = mass;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint better = 0;  // elements, and what they weigh
  ulong above = 0;
  for (uint i = 0; i < count; i++) {
    const bool is_better = ranks[i] > rank || (ranks[i] == rank && i < self);
    better += is_better ? 1 : 0;
    above = above + (is_better ? sums[i] : 0);
  }
  bool keep = self < count && (rule.top_k == 0 || better < rule.top_k);
  if (rule.top_p < 1.0f) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ulong listed = group_add(keep ? mass : 0, sums, lane, simd, simds);
    const ulong wanted = max(part_of(rule.top_p, rule.top_k > 0 ? listed : rule.total), ulong(1));
    *found = listed >= wanted;
    keep = keep && above < wanted;
  }
  const ulong weight = keep ? drawn_mass(v, largest, rule, one) : 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  ulong target = draw_target(group_add(weight, sums, lane, simd, simds), rule.uniform);
  return passes_target(weight, sums, lane, simd, simds, &target);
}

GPU_LIBRARY_END
