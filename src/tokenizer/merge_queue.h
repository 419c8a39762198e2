// SPDX-License-Identifier: Apache-2.0
// The merge loop that all pair-merging models share: best pair first, leftmost on ties, O(n log n).
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

namespace mlxn::tokenizer {

struct Symbol {
  int32_t id;       // token, or -1 for text that is no token
  uint32_t begin;   // byte offset in the piece
  uint32_t length;  // bytes; 0 once merged into the symbol before
  int32_t previous = -1;
  int32_t next = -1;
};

struct PairMerge {
  uint32_t priority;  // lower merges first
  int32_t id;         // the merged token
};

// Lookup: std::optional<PairMerge>(const Symbol& left, const Symbol& right).
template <typename Lookup>
void merge_symbols(std::vector<Symbol>& symbols, const Lookup& lookup) {
  struct Candidate {
    uint32_t priority;
    uint32_t left;    // index of the left symbol
    uint32_t length;  // of both together; another value means that one has changed since
    int32_t id;
    bool operator<(const Candidate& other) const {
      return priority != other.priority ? priority > other.priority : left > other.left;
    }
  };
  std::vector<Candidate> candidates;
  candidates.reserve(symbols.size());
  const auto candidate_at = [&](int32_t left) -> std::optional<Candidate> {
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    const auto merge = lookup(a, b);
    if (!merge) return std::nullopt;
    return Candidate{merge->priority, static_cast<uint32_t>(left), a.length + b.length, merge->id};
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
    if (symbols[i].next < 0) continue;
    if (const auto candidate = candidate_at(static_cast<int32_t>(i))) {
      candidates.push_back(*candidate);
    }
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(candidates));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.left];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.length + right.length != top.length) continue;
    left.id = top.id;
    left.length = top.length;
    right.length = 0;
    left.next = right.next;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].previous = static_cast<int32_t>(top.left);
      if (const auto candidate = candidate_at(static_cast<int32_t>(top.left))) {
        queue.push(*candidate);
      }
    }
    if (left.previous >= 0) {
      if (const auto candidate = candidate_at(left.previous)) queue.push(*candidate);
    }
  }
}

}  // namespace mlxn::tokenizer
