// SPDX-License-Identifier: Apache-2.0
// What changes logits before sampling. Ids outside the vocabulary are ignored.
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/sample/cpu.h"

namespace mlxn::kernels {
namespace {

bool has_penalty(const SampleRule& rule) {
  return rule.repetition_penalty != 1.0f || rule.presence_penalty != 0.0f ||
         rule.frequency_penalty != 0.0f;
}

void penalize(const SampleRule& rule, int32_t count, float& logit) {
  logit = logit > 0.0f ? logit / rule.repetition_penalty : logit * rule.repetition_penalty;
  logit -= rule.presence_penalty + rule.frequency_penalty * static_cast<float>(count);
}

}  // namespace

void suppress_and_penalize(const SampleParams& p, int64_t b, float* logits) {
  for (int64_t i = 0; i < p.num_suppress; ++i) {
    const int32_t id = p.suppress[i];
    if (id >= 0 && id < p.vocab) logits[id] = -std::numeric_limits<float>::infinity();
  }
  const SampleRule& rule = p.rules[b];
  if (p.history == nullptr || !has_penalty(rule)) return;
  const int64_t stated = p.history_lens ? p.history_lens[b] : rule.history_len;
  const int64_t len = std::clamp<int64_t>(stated, 0, p.max_history);
  const int64_t window =
      rule.penalty_window < 0 ? len : std::min<int64_t>(len, rule.penalty_window);
  const int32_t* end = p.history + b * p.max_history + len;
  std::vector<int32_t> recent(end - window, end);
  std::sort(recent.begin(), recent.end());
  for (auto first = recent.begin(); first != recent.end();) {
    const auto last = std::upper_bound(first, recent.end(), *first);
    if (*first >= 0 && *first < p.vocab) {
      penalize(rule, static_cast<int32_t>(last - first), logits[*first]);
    }
    first = last;
  }
}

}  // namespace mlxn::kernels
