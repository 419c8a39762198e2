// SPDX-License-Identifier: Apache-2.0
// sample: one threadgroup per sequence. Every simdgroup owns a range of the row; counts and masses
// are integers, so a draw depends on the logits, the rule and the uniform number only.
//   logits, edited [sequences, vocab]   history [sequences, max_history]   suppress [num_suppress]
//   rules, history_lens, positions, sequence_ids, tokens, logprobs [sequences]
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
GPU_FN uint draw_token(THREAD const SampleRow& row, THREAD const Kept& kept, float temperature,
                       float log_min_p, uint uniform, THREADGROUP ulong* sums) {
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
    ties_before = simd_add(row.lane < row.simd ? sums[row.lane] : 0, row.lane);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Twice over the range: its mass, then the token, if the target lies in it.
  ulong before = 0, target = 0;
  uint token = 0xffffffffu;
  for (uint pass = 0; pass < 2; pass++) {
    ulong sum = before, ties_seen = ties_before;
    for (uint base = row.begin; base < row.end; base += SIMD_WIDTH) {
      const uint at = base + row.lane;
      const float v = at < row.end ? row.x[at] : -INFINITY;
      const uint rank = rank_bits(v);
      const bool is_tie = at < row.end && rank == kept.threshold;
      bool keep = at < row.end && rank >= kept.threshold && v - row.largest >= log_min_p;
      if (kept.limits_ties) {
        const uint tie = simd_prefix_exclusive_sum(is_tie ? 1u : 0u);
        if (is_tie && ties_seen + tie >= kept.ties) keep = false;
        ties_seen = ties_seen + simd_sum(is_tie ? 1u : 0u);
      }
      const ulong mass = keep ? mass_of(v, row.largest, temperature, row.one) : 0;
      const ulong upto = sum + simd_prefix_add(mass, row.lane);
      if (pass == 1) token = min(token, simd_min(upto > target ? at : 0xffffffffu));
      sum = simd_shuffle_ulong(upto, 31);
    }
    if (pass == 1) break;
    if (row.lane == 0) sums[row.simd] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ulong mine = row.lane < row.simds ? sums[row.lane] : 0;
    const ulong total = simd_add(mine, row.lane);
    before = simd_add(row.lane < row.simd ? mine : 0, row.lane);
    target = (total >> 32) * uniform + (((total & 0xffffffffu) * uniform) >> 32);
    if (target < before || target >= before + sum) break;
  }
  return token;
}

KERNEL(sample_draw, IN(float, logits), IN(float, edited), IN(GpuSampleRule, rules),
       IN(int, positions), IN(uint, sequence_ids), OUT(int, tokens), OUT(float, logprobs),
       PARAMS(GpuSample, p)) {
  await_inputs();
  SHARED(ulong, sums, 32 * 16);
  SHARED(uint, ranks, 32);
  SHARED(uint, places, 32);
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
  uint rank = 0, place = 0xffffffffu, nans = 0;
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

  const float temperature = rules[b].temperature;
  uint token = place;
  if (temperature > 0.0f) {
    if (nans > 0 || isinf(row.largest)) {
      token = 0;
    } else {
      const uint uniform = draw_uniform(
          rules[b].seed[0], rules[b].seed[1], p.sequence_ids != 0 ? sequence_ids[b] : b,
          p.positions != 0 ? uint(positions[b]) : rules[b].position[0],
          p.positions != 0 ? uint(positions[b] >> 31) : rules[b].position[1]);
      ulong total = 0;
      for (uint at = row.begin + LANE; at < row.end; at += SIMD_WIDTH) {
        total = total + mass_of(row.x[at], row.largest, 1.0f, row.one);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      total = group_add(total, sums, IN_GROUP);
      const Kept kept = apply_filters(row, p.vocab, rules[b].top_k, rules[b].top_p, total, sums);
      const float min_p = rules[b].min_p;
      const float log_min_p = min_p > 0.0f ? log(min_p) : -INFINITY;
      const uint candidate = draw_token(row, kept, temperature, log_min_p, uniform, sums);
      if (LANE == 0 && candidate != 0xffffffffu) drawn[0] = candidate;
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
EXPORT(sample_draw)

KERNELS_END
