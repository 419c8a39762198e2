// SPDX-License-Identifier: Apache-2.0
#include "runtime/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace mlxn::runtime {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

// Length of the longest end of pending_ that a stop string begins with.
size_t StopMatcher::held_back() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, pending_.size()); n > longest; --n) {
      if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

std::string StopMatcher::push(std::string_view text) {
  if (matched_) return {};
  pending_ += text;
  size_t match = std::string::npos;
  for (const std::string& stop : stops_) match = std::min(match, pending_.find(stop));
  if (match != std::string::npos) {
    matched_ = true;
    std::string before = pending_.substr(0, match);
    pending_.clear();
    return before;
  }
  const size_t certain = pending_.size() - held_back();
  std::string out = pending_.substr(0, certain);
  pending_.erase(0, certain);
  return out;
}

std::string StopMatcher::flush() { return std::exchange(pending_, {}); }

}  // namespace mlxn::runtime
