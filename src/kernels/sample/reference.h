// SPDX-License-Identifier: Apache-2.0
// The float64 oracle of sample: every step on the whole vocabulary, in the order ops/sampling.h
// states.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "kernels/sample/params.h"

namespace mlxn::kernels {

// The logits of sequence b after suppression and penalties.
inline std::vector<double> sample_reference_logits(const SampleParams& p, int64_t b) {
  const SampleRule& rule = p.rules[b];
  std::vector<double> l(p.logits + b * p.vocab, p.logits + (b + 1) * p.vocab);
  for (int64_t i = 0; i < p.num_suppress; ++i) {
    const int32_t id = p.suppress[i];
    if (id >= 0 && id < p.vocab) l[static_cast<size_t>(id)] = -INFINITY;
  }
  if (p.history == nullptr) return l;
  const int64_t len = p.history_lens ? p.history_lens[b] : rule.history_len;
  const int64_t window =
      rule.penalty_window < 0 ? len : std::min<int64_t>(len, rule.penalty_window);
  std::map<int32_t, int> counts;
  for (int64_t i = len - window; i < len; ++i) ++counts[p.history[b * p.max_history + i]];
  for (const auto& [id, count] : counts) {
    if (id < 0 || id >= p.vocab) continue;
    double& v = l[static_cast<size_t>(id)];
    v = v > 0 ? v / rule.repetition_penalty : v * rule.repetition_penalty;
    v -= rule.presence_penalty + double{rule.frequency_penalty} * count;
  }
  return l;
}

// Probability of every token of sequence b; 0 for what the filters drop.
inline std::vector<double> sample_reference_probabilities(const SampleParams& p, int64_t b) {
  const SampleRule& rule = p.rules[b];
  const auto l = sample_reference_logits(p, b);
  std::vector<size_t> order(l.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return l[i] > l[j]; });
  const double max = l[order[0]];
  if (rule.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(rule.top_k)));
  if (rule.top_p < 1.0f) {
    double total = 0.0, mass = 0.0;
    for (size_t i : order) total += std::exp(l[i] - max);
    size_t kept = 0;
    while (kept < order.size() && mass < rule.top_p * total) {
      mass += std::exp(l[order[kept++]] - max);
    }
    order.resize(std::max<size_t>(kept, 1));
  }
  std::vector<double> probabilities(l.size(), 0.0);
  double sum = 0.0;
  for (size_t i : order) {
    if (std::exp(l[i] - max) < rule.min_p) continue;
    sum += probabilities[i] = std::exp((l[i] - max) / rule.temperature);
  }
  for (double& value : probabilities) value /= sum;
  return probabilities;
}

}  // namespace mlxn::kernels
