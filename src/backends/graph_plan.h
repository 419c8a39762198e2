// SPDX-License-Identifier: Apache-2.0
// What a graph does to the dispatches it has captured: joins neighbours, moves dispatches so that
// fewer barriers are needed, and places the barriers anew. Those that the caller has put stay where
// nothing may move. The same for every backend.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/barrier_plan.h"
#include "backends/fusible.h"
#include "mlxn/stream.h"

namespace mlxn::backends {

// Nodes i and i + 1 as one, if their ops can be joined and nobody misses what stays unwritten: it
// lies in one of `temporaries`, and no node reads it before it is written again, in this replay of
// the graph or the next.
std::optional<Joined> join_at(std::span<const Access* const> nodes, size_t i,
                              std::span<const Buffer> temporaries);

// An order in which every two nodes that touch the same bytes, one of them writing, stay as they
// are: order[k] is the node that runs k-th. While nodes wait for a barrier, those behind them that
// depend on none of them are brought forward. The nodes must be movable.
std::vector<size_t> reorder(std::span<const Access* const> nodes);

// Whether every node tells what memory it touches.
bool are_movable(std::span<const Access* const> nodes);

// Takes the barriers that the caller has put before the nodes i and i + 1 over to `joined`, which
// stands for both, and to the node behind: what the barrier between the two has ordered before
// node i + 1 now comes before `joined`, and what it has ordered behind node i behind `joined`.
inline void keep_barriers(const Access& first, const Access& second, Access& joined, Access* next) {
  joined.after_barrier = first.after_barrier || second.after_barrier;
  if (next != nullptr && second.after_barrier) next->after_barrier = true;
}

// Node has `access` and `barrier_before`. record(joined) returns the node that `joined` records.
// `barriers` has seen nothing yet.
template <typename Node, typename Record>
void optimise(std::vector<Node>& nodes, const GraphOptions& options, const Record& record,
              BarrierPlan barriers, GraphStats& stats) {
  const auto accesses = [&nodes] {
    std::vector<const Access*> list;
    for (const Node& node : nodes) list.push_back(&node.access);
    return list;
  };
  for (size_t i = 0; options.fuse && i + 1 < nodes.size();) {
    const std::optional<Joined> joined = join_at(accesses(), i, options.temporaries);
    if (!joined) {
      ++i;
      continue;
    }
    Node node = record(*joined);
    keep_barriers(nodes[i].access, nodes[i + 1].access, node.access,
                  i + 2 < nodes.size() ? &nodes[i + 2].access : nullptr);
    nodes[i] = std::move(node);  // and once more, with what is now behind it
    nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ++stats.fused;
  }
  const bool moves = options.reorder && are_movable(accesses());
  if (moves) {
    const std::vector<size_t> order = reorder(accesses());
    std::vector<Node> moved;
    for (size_t i = 0; i < order.size(); ++i) {
      stats.moved += order[i] != i;
      moved.push_back(std::move(nodes[order[i]]));
    }
    nodes = std::move(moved);
  }
  StreamCounters counters;
  for (Node& node : nodes) {
    if (!moves && node.access.after_barrier) barriers.request();
    node.barrier_before = barriers.before(node.access, counters);
  }
}

// The same to what a stream has captured: `nodes`, with `barriers` of them behind a barrier. What
// is joined is recorded through the stream, whose counters stay as they are.
template <typename Node>
void optimise_capture(StreamImpl& stream, std::vector<Node>& nodes, size_t& barriers,
                      const GraphOptions& options, GraphStats& stats) {
  const StreamCounters counted = stream.counters();
  std::vector<Node> list = std::exchange(nodes, {});
  optimise(
      list, options,
      [&](const Joined& joined) {
        joined.record(stream);
        Node node = std::move(nodes.back());
        nodes.clear();
        return node;
      },
      BarrierPlan(stream.device().options().serial), stats);
  nodes = std::move(list);
  barriers = static_cast<size_t>(std::count_if(
      nodes.begin(), nodes.end(), [](const Node& node) { return node.barrier_before; }));
  stream.counters() = counted;
}

// Counts the groups of nodes between barriers, and nodes without memory.
template <typename Node>
void count_groups(const std::vector<Node>& nodes, GraphStats& stats) {
  size_t size = 0;
  const auto end_group = [&] {
    if (size > 0) ++stats.groups[std::min(size, stats.groups.size()) - 1];
    size = 0;
  };
  for (const Node& node : nodes) {
    if (node.barrier_before) end_group();
    ++size;
    stats.unannotated += node.access.reads.empty() && node.access.writes.empty();
  }
  end_group();
}

}  // namespace mlxn::backends
