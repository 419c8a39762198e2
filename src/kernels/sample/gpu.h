// SPDX-License-Identifier: Apache-2.0
// sample: one threadgroup draws for a sequence. Every simdgroup owns a range of the row; counts and
// masses are integers, so a draw depends on the logits, the rule and the uniform number only. Of a
// long row the whole device first sifts what the filters may keep, so that the threadgroup draws
// from a short list: what is as large as the k-th largest of the spans' maxima is k elements or
// more.
//   logits, edited [sequences, vocab]   history [sequences, max_history]   suppress [num_suppress]
//   rules, history_lens, positions, sequence_ids, tokens, logprobs [sequences]
//   maxima [sequences, spans]   masses [sequences, chunks]   hits [sequences, chunks, 4], a bit per
//   element
#include "kernels/sample/gpu_draw.h"

KERNELS_BEGIN(sample)

// True if no element in front of `at` equals list[at].
GPU_FN bool is_first_of_its_kind(DEVICE const int* list, uint at) {
  for (uint i = 0; i < at; i++) {
    if (list[i] == list[at]) return false;
  }
  return true;
}

// Suppresses and penalises a copy of the logits. Ids outside the vocabulary are ignored.
KERNEL(sample_edit, IN(GpuSampleRule, rules), IN(int, history), IN(int, history_lens),
       IN(int, suppress), INOUT(float, edited), PARAMS(GpuSample, p)) {
  await_inputs();
  const uint b = GROUP_ID.x;
  DEVICE float* to = edited + ulong(b) * p.vocab;
  for (uint i = THREAD_ID; i < p.num_suppress; i += GROUP_SIZE) {
    if (uint(suppress[i]) < p.vocab && is_first_of_its_kind(suppress, i)) {
      to[suppress[i]] = -INFINITY;
    }
  }
  threadgroup_barrier(mem_flags::mem_device);

  const float repetition = rules[b].repetition_penalty, presence = rules[b].presence_penalty;
  const float frequency = rules[b].frequency_penalty;
  if (p.history == 0 || (repetition == 1.0f && presence == 0.0f && frequency == 0.0f)) return;
  // Host lengths lie within the history; those of a buffer have not been checked.
  const int stated = p.history_lens != 0 ? history_lens[b] : int(rules[b].history_len[0]);
  const uint len = stated < 0 ? 0 : min(uint(stated), p.max_history);
  const int window = rules[b].penalty_window;
  const uint count = window < 0 ? len : min(len, uint(window));
  DEVICE const int* recent = history + ulong(b) * p.max_history + (len - count);
  for (uint i = THREAD_ID; i < count; i += GROUP_SIZE) {
    const int id = recent[i];
    if (uint(id) >= p.vocab || !is_first_of_its_kind(recent, i)) continue;
    uint occurrences = 0;
    for (uint j = i; j < count; j++) occurrences += recent[j] == id ? 1 : 0;
    const float logit = to[id];
    const float scaled = logit > 0.0f ? logit / repetition : logit * repetition;
    to[id] = scaled - (presence + frequency * float(occurrences));
  }
}

// The draw: the first kept token, by index, at which the running sum of masses exceeds the target.
// Every simdgroup returns its candidate, 0xffffffff but in one of them.
GPU_FN uint draw_token(THREAD const SampleRow& row, THREAD const Kept& kept,
                       THREAD const DrawRule& rule, THREADGROUP ulong* sums) {
  // Ties in front of this simdgroup's range.
  ulong ties_before = 0;
  if (kept.limits_ties) {
    uint ties = 0;
    for (uint at = row.begin + row.lane; at < row.end; at += SIMD_WIDTH) {
      ties += rank_bits(row.x[at]) == kept.threshold ? 1 : 0;
    }
    ties = simd_sum(ties);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (row.lane == 0) sums[row.simd] = ties;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ties_before = simd_add(row.lane < row.simd ? sums[row.lane] : 0);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Twice over the range: its mass, then the token, if the target lies in it.
  ulong before = 0, target = 0;
  uint token = 0xffffffffu;
  for (uint pass = 0; pass < 2; pass++) {
    ulong sum = before, ties_seen = ties_before, of_lane = 0;
    for (uint base = row.begin; base < row.end; base += SIMD_WIDTH) {
      const uint at = base + row.lane;
      const float v = at < row.end ? row.x[at] : -INFINITY;
      const uint rank = rank_bits(v);
      const bool is_tie = at < row.end && rank == kept.threshold;
      bool keep = at < row.end && rank >= kept.threshold && v - row.largest >= rule.log_min_p;
      if (kept.limits_ties) {
        const uint tie = simd_prefix_exclusive_sum(is_tie ? 1u : 0u);
        if (is_tie && ties_seen + tie >= kept.ties) keep = false;
        ties_seen = ties_seen + simd_sum(is_tie ? 1u : 0u);
      }
      const ulong mass = keep ? mass_of(v, row.largest, rule.temperature, row.one) : 0;
      of_lane = of_lane + mass;
      if (pass == 0) continue;
      const ulong upto = sum + simd_prefix_add(mass, row.lane);
      token = min(token, simd_min(upto > target ? at : 0xffffffffu));
      sum = simd_shuffle_ulong(upto, 31);
    }
    if (pass == 1) break;
    sum = simd_add(of_lane);
    if (row.lane == 0) sums[row.simd] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ulong mine = row.lane < row.simds ? sums[row.lane] : 0;
    const ulong total = simd_add(mine);
    before = simd_add(row.lane < row.simd ? mine : 0);
    target = draw_target(total, rule.uniform);
    if (target < before || target >= before + sum) break;
  }
  return token;
}

// The largest element of every span; infinity if one is NaN, as neither leaves anything to draw.
KERNEL(sample_spans, IN(float, logits), OUT(float, maxima), PARAMS(GpuSample, p)) {
  await_inputs();
  const uint index = GROUP_ID.x * NUM_SIMDS + SIMD_ID;
  if (index >= p.sequences * p.spans) return;
  DEVICE const float* x = logits + ulong(index / p.spans) * p.vocab;
  float largest = -INFINITY;
  for (uint first = index % p.spans * p.span, i = 0; i < p.span; i += kGpuSampleChunk) {
    UNROLL for (uint j = 0; j < kGpuSampleChunk; j += SIMD_WIDTH) {
      const uint at = first + i + j + LANE;
      const float v = at < p.vocab ? x[at] : -INFINITY;
      largest = isnan(v) ? INFINITY : max(largest, v);
    }
  }
  largest = simd_max(largest);
  if (LANE == 0) maxima[index] = largest;
}

GPU_FN float log_min_p(float min_p) { return min_p > 0.0f ? log(min_p) : -INFINITY; }

// top_k, or 0 if it keeps everything.
GPU_FN uint limit_of(int top_k, uint vocab) {
  return top_k > 0 && uint(top_k) < vocab ? uint(top_k) : 0;
}

// Which elements are about as large as the top_k-th largest of the maxima; without top_k, as half
// of the maxima are, and what chunks weigh. A simdgroup takes a chunk.
KERNEL(sample_sift, IN(float, logits), IN(float, maxima), IN(GpuSampleRule, rules),
       OUT(ulong, masses), OUT(uint, hits), PARAMS(GpuSample, p)) {
  await_inputs();
  SHARED(float, partial, 32);
  SHARED(uint, counts, 64);
  const uint chunks = p.spans * (p.span / kGpuSampleChunk);
  const uint groups = (chunks + NUM_SIMDS - 1) / NUM_SIMDS, b = GROUP_ID.x / groups;
  DrawRule rule;
  rule.temperature = rules[b].temperature;
  if (rule.temperature <= 0.0f) return;
  const uint top_k = limit_of(rules[b].top_k, p.vocab);
  const bool filters = top_k > 0 || rules[b].top_p < 1.0f;
  rule.log_min_p = log_min_p(rules[b].min_p);
  const float maximum = THREAD_ID < p.spans ? maxima[ulong(b) * p.spans + THREAD_ID] : -INFINITY;
  const float largest = group_max(maximum, partial, IN_GROUP);
  if (isinf(largest)) return;  // nothing is drawn
  const uint wanted = top_k > 0 ? top_k : p.spans / 2;
  uint threshold = 0;  // the upper half of its bits will do
  for (uint bit = 31; bit >= 16; bit--) {
    const bool reaches = THREAD_ID < p.spans && rank_bits(maximum) >= (threshold | 1u << bit);
    const uint count = group_sum(reaches ? 1u : 0u, counts + 32 * (bit & 1), IN_GROUP);
    if (count >= wanted) threshold = threshold | 1u << bit;
  }

  const uint chunk = GROUP_ID.x % groups * NUM_SIMDS + SIMD_ID;
  if (chunk >= chunks) return;
  const ulong place = ulong(b) * chunks + chunk;
  ulong mass = 0;
  UNROLL for (uint i = 0; i < kGpuSampleChunk; i += SIMD_WIDTH) {
    const uint at = chunk * kGpuSampleChunk + i + LANE;
    const float v = at < p.vocab ? logits[ulong(b) * p.vocab + at] : -INFINITY;
    const bool is_hit = at < p.vocab && rank_bits(v) >= threshold;
    const uint bits = simd_sum(is_hit ? 1u << LANE : 0u);
    if (LANE == 0) hits[place * (kGpuSampleChunk / 32) + i / 32] = bits;
    if (top_k > 0) continue;
    mass = mass + (filters ? mass_of(v, largest, 1.0f, p.mass_one)
                           : drawn_mass(v, largest, rule, p.mass_one));
  }
  mass = simd_add(mass);
  if (LANE == 0) masses[place] = mass;
}

// Draws from what sample_sift has found, the token into drawn[0], a barrier later. False: there is
// more than the list of one element to a thread holds.
GPU_FN bool draw_sifted(THREAD const SampleRow& row, uint vocab, DEVICE const ulong* masses,
                        DEVICE const uint* hits, uint chunks, THREAD const DrawRule& rule,
                        THREADGROUP uint* listed, THREADGROUP uint* list_ranks,
                        THREADGROUP uint* counts, THREADGROUP ulong* rest, THREADGROUP ulong* sums,
                        THREADGROUP uint* drawn) {
  const uint self = SIMD_WIDTH * row.simd + row.lane;
  if (rule.top_k == 0 && rule.top_p >= 1.0f) {
    if (draw_chunked(row, vocab, masses, chunks, rule, listed, rest, sums)) {
      drawn[0] = listed[0] * kGpuSampleChunk + self;
    }
    return true;
  }
  const uint capacity = SIMD_WIDTH * row.simds;
  const uint count = list_hits(hits, chunks * (kGpuSampleChunk / 32), capacity, listed, counts,
                               row.lane, row.simd, row.simds);
  if (count > capacity) return false;
  const float v = self < count ? row.x[listed[self]] : -INFINITY;
  bool found = true;
  if (draw_listed(v, row.largest, count, rule, row.one, list_ranks, sums, row.lane, row.simd,
                  row.simds, &found)) {
    drawn[0] = listed[self];
  }
  return found;
}

KERNEL(sample_draw, IN(float, logits), IN(float, edited), IN(GpuSampleRule, rules),
       IN(int, positions), IN(uint, sequence_ids), IN(float, maxima), IN(ulong, masses),
       IN(uint, hits), OUT(int, tokens), OUT(float, logprobs), PARAMS(GpuSample, p)) {
  await_inputs();
  SHARED(ulong, sums, kGpuSampleThreads);
  SHARED(uint, listed, kGpuSampleThreads);
  SHARED(uint, list_ranks, kGpuSampleThreads);
  SHARED(uint, ranks, 32);
  SHARED(uint, places, 32);
  SHARED(ulong, rest, 1);
  SHARED(uint, drawn, 1);
  SHARED(float, partial, 32);
  const uint b = GROUP_ID.x;
  DEVICE const float* raw = logits + ulong(b) * p.vocab;
  SampleRow row;
  row.x = p.edited != 0 ? edited + ulong(b) * p.vocab : raw;
  row.begin = min(SIMD_ID * p.range, p.vocab);
  row.end = min(row.begin + p.range, p.vocab);
  row.lane = LANE;
  row.simd = SIMD_ID;
  row.simds = NUM_SIMDS;
  row.one = p.mass_one;

  // The best element, and whether one is NaN.
  DrawRule rule;
  rule.temperature = rules[b].temperature;
  const bool is_sifted = p.spans > 0 && rule.temperature > 0.0f;
  uint rank = 0, place = 0xffffffffu, nans = 0;
  if (is_sifted) {
    row.largest =
        group_max(THREAD_ID < p.spans ? maxima[ulong(b) * p.spans + THREAD_ID] : -INFINITY, partial,
                  IN_GROUP);
  } else {
    for (uint at = row.begin + LANE; at < row.end; at += SIMD_WIDTH) {
      const uint other = rank_bits(row.x[at]);
      nans += other == 0 ? 1 : 0;
      if (other > rank || place == 0xffffffffu) {
        rank = other;
        place = at;
      }
    }
    group_best(&rank, &place, ranks, places, IN_GROUP);
    row.largest = row.x[place];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    nans = group_max(nans, ranks, IN_GROUP);
  }

  uint token = place;
  if (rule.temperature > 0.0f) {
    if (nans > 0 || isinf(row.largest)) {
      token = 0;
    } else {
      rule.uniform = draw_uniform(
          rules[b].seed[0], rules[b].seed[1], p.sequence_ids != 0 ? sequence_ids[b] : b,
          p.positions != 0 ? uint(positions[b]) : rules[b].position[0],
          p.positions != 0 ? uint(positions[b] >> 31) : rules[b].position[1]);
      rule.top_p = rules[b].top_p;
      rule.top_k = limit_of(rules[b].top_k, p.vocab);
      rule.log_min_p = log_min_p(rules[b].min_p);
      rule.total = 0;
      if (rule.top_k == 0 && rule.top_p < 1.0f) {
        const uint chunks = p.spans * (p.span / kGpuSampleChunk);
        for (uint at = THREAD_ID; is_sifted && at < chunks; at += GROUP_SIZE) {
          rule.total = rule.total + masses[ulong(b) * chunks + at];
        }
        for (uint at = row.begin + LANE; !is_sifted && at < row.end; at += SIMD_WIDTH) {
          rule.total = rule.total + mass_of(row.x[at], row.largest, 1.0f, row.one);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        rule.total = group_add(rule.total, sums, IN_GROUP);
      }
      bool found = false;
      if (is_sifted) {
        const uint chunks = p.spans * (p.span / kGpuSampleChunk);
        found = draw_sifted(row, p.vocab, masses + ulong(b) * chunks,
                            hits + ulong(b) * chunks * (kGpuSampleChunk / 32), chunks, rule, listed,
                            list_ranks, places, rest, sums, drawn);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (!found) {
        const Kept kept =
            apply_filters(row, p.vocab, int(rule.top_k), rule.top_p, rule.total, sums);
        const uint candidate = draw_token(row, kept, rule, sums);
        if (LANE == 0 && candidate != 0xffffffffu) drawn[0] = candidate;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      token = drawn[0];
    }
  }
  if (THREAD_ID == 0) tokens[b] = int(token);
  if (p.logprobs == 0) return;

  // Log-softmax of the raw logits.
  float largest = -INFINITY;
  nans = 0;
  for (uint at = row.begin + LANE; at < row.end; at += SIMD_WIDTH) {
    largest = max(largest, raw[at]);
    nans += isnan(raw[at]) ? 1 : 0;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  largest = group_max(largest, partial, IN_GROUP);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  nans = group_max(nans, ranks, IN_GROUP);
  const bool defined = nans == 0 && !isinf(largest);
  ulong total = 0;
  for (uint at = row.begin + LANE; at < row.end && defined; at += SIMD_WIDTH) {
    total = total + mass_of(raw[at], largest, 1.0f, row.one);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  total = group_add(total, sums, IN_GROUP);
  if (THREAD_ID > 0) return;
  logprobs[b] = defined ? raw[token] - largest - log(float(total) / row.one) : NAN;
}

EXPORT(sample_edit)
EXPORT(sample_spans)
EXPORT(sample_sift)
EXPORT(sample_draw)

KERNELS_END
