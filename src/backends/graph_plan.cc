// SPDX-License-Identifier: Apache-2.0
#include "backends/graph_plan.h"

#include <algorithm>

namespace mlxn::backends {
namespace {

// How many places behind a waiting node are searched for nodes to bring forward.
constexpr size_t kScan = 63;

bool overlap(const MemoryRange& a, const MemoryRange& b) {
  return a.allocation == b.allocation && a.begin < b.end && b.begin < a.end;
}

bool holds(const MemoryRange& whole, const MemoryRange& part) {
  return whole.allocation == part.allocation && whole.begin <= part.begin && part.end <= whole.end;
}

template <typename Test>
bool any_of(const std::vector<MemoryRange>& ranges, const Test& test) {
  return std::any_of(ranges.begin(), ranges.end(), test);
}

bool is_unannotated(const Access& access) { return access.reads.empty() && access.writes.empty(); }

// Whether the bytes are written again before any of the nodes reads them, or never read. A node
// that does not tell what it reads may read them.
bool is_dead(std::span<const Access* const> nodes, const MemoryRange& range) {
  for (const Access* node : nodes) {
    if (is_unannotated(*node)) return false;
    if (any_of(node->reads, [&](const MemoryRange& r) { return overlap(r, range); })) return false;
    if (any_of(node->writes, [&](const MemoryRange& r) { return holds(r, range); })) return true;
  }
  return true;
}

// The ranges of some nodes, asked whether another node may run beside them.
class Group {
 public:
  bool allows(const Access& access) { return tracker_.check(access.reads, access.writes); }
  void add(const Access& access) { tracker_.add(access.reads, access.writes); }
  void clear() { tracker_.reset(); }

 private:
  HazardTracker tracker_;
};

class Scheduler {
 public:
  explicit Scheduler(std::span<const Access* const> nodes)
      : nodes_(nodes), is_placed_(nodes.size()) {}

  std::vector<size_t> run() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (is_placed_[i]) continue;
      if (!running_.allows(*nodes_[i])) {
        bring_forward(i);
        running_.clear();  // the barrier
      }
      place(i);
    }
    return std::move(order_);
  }

 private:
  void place(size_t i) {
    order_.push_back(i);
    is_placed_[i] = true;
    running_.add(*nodes_[i]);
  }

  // Into the group that is running: nodes behind i that conflict neither with it nor with any node
  // that they pass.
  void bring_forward(size_t i) {
    Group passed;
    passed.add(*nodes_[i]);
    const size_t end = std::min(nodes_.size(), i + 1 + kScan);
    for (size_t j = i + 1; j < end; ++j) {
      if (is_placed_[j]) continue;
      const Access& access = *nodes_[j];
      if (running_.allows(access) && passed.allows(access)) {
        place(j);
      } else {
        passed.add(access);
      }
    }
  }

  std::span<const Access* const> nodes_;
  std::vector<bool> is_placed_;
  std::vector<size_t> order_;
  Group running_;
};

}  // namespace

std::optional<Joined> join_at(std::span<const Access* const> nodes, size_t i,
                              std::span<const Buffer> temporaries) {
  const Fusible* const first = nodes[i]->fusible.get();
  const Fusible* const second = nodes[i + 1]->fusible.get();
  if (first == nullptr || second == nullptr) return std::nullopt;
  std::optional<Joined> joined = first->join(*second);
  if (!joined || !joined->unwritten) return joined;
  const MemoryRange range = range_of(joined->unwritten);
  const bool is_temporary =
      std::any_of(temporaries.begin(), temporaries.end(),
                  [&](const Buffer& buffer) { return buffer && holds(range_of(buffer), range); });
  // Who comes behind the two: the rest of the graph and, in the next replay, its beginning.
  const auto at = nodes.begin() + static_cast<std::ptrdiff_t>(i);
  std::vector<const Access*> followers(at + 2, nodes.end());
  followers.insert(followers.end(), nodes.begin(), at);
  if (!is_temporary || !is_dead(followers, range)) return std::nullopt;
  return joined;
}

std::vector<size_t> reorder(std::span<const Access* const> nodes) { return Scheduler(nodes).run(); }

bool are_movable(std::span<const Access* const> nodes) {
  return std::none_of(nodes.begin(), nodes.end(),
                      [](const Access* access) { return is_unannotated(*access); });
}

}  // namespace mlxn::backends
