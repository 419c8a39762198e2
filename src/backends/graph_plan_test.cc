// SPDX-License-Identifier: Apache-2.0
// Joining and moving the dispatches of a graph.
#include "backends/graph_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "backends/cpu/cpu_stream.h"
#include "mlxn/device.h"

namespace mlxn {
namespace {

using backends::Access;
using backends::Fusible;
using backends::Joined;

// Nodes over a few allocations of 64 bytes; a range is {allocation, begin, end}.
struct Node {
  Access access;
  bool barrier_before = false;
};

Node node(std::vector<backends::MemoryRange> reads, std::vector<backends::MemoryRange> writes) {
  Node n;
  n.access.reads = std::move(reads);
  n.access.writes = std::move(writes);
  return n;
}

backends::MemoryRange whole(uint64_t allocation) { return {allocation, 0, 64}; }

std::vector<size_t> order_of(const std::vector<Node>& nodes) {
  std::vector<const Access*> list;
  for (const Node& n : nodes) list.push_back(&n.access);
  return backends::reorder(list);
}

bool conflict(const Access& a, const Access& b) {
  backends::HazardTracker tracker;
  tracker.add(a.reads, a.writes);
  return !tracker.check(b.reads, b.writes);
}

// A node behind a barrier of the caller's.
Node behind_barrier(Node n) {
  n.access.after_barrier = true;
  return n;
}

GraphStats optimise(std::vector<Node>& nodes, const GraphOptions& options = {.reorder = true}) {
  GraphStats stats;
  // What is joined touches allocation 9.
  backends::optimise(
      nodes, options, [](const Joined&) { return node({}, {whole(9)}); },
      backends::BarrierPlan(false), stats);
  backends::count_groups(nodes, stats);
  return stats;
}

std::vector<bool> barriers_of(const std::vector<Node>& nodes) {
  std::vector<bool> list;
  for (const Node& n : nodes) list.push_back(n.barrier_before);
  return list;
}

TEST(Reorder, BringsIndependentWorkForward) {
  // Two chains of three, one behind the other: side by side they need two barriers instead of four.
  std::vector<Node> nodes = {node({whole(1)}, {whole(2)}), node({whole(2)}, {whole(3)}),
                             node({whole(3)}, {whole(4)}), node({whole(1)}, {whole(5)}),
                             node({whole(5)}, {whole(6)}), node({whole(6)}, {whole(7)})};
  EXPECT_EQ(order_of(nodes), (std::vector<size_t>{0, 3, 1, 4, 2, 5}));
  const GraphStats stats = optimise(nodes);
  EXPECT_EQ(stats.moved, 4u);
  EXPECT_EQ(stats.groups, (std::array<size_t, 8>{0, 3, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(stats.unannotated, 0u);
}

TEST(Reorder, NeverPassesWhatItDependsOn) {
  // Node 2 is free of 0 but reads what 1 writes; node 3 overwrites what 1 reads; node 4 is free.
  const std::vector<Node> nodes = {node({}, {whole(1)}), node({whole(1)}, {whole(2)}),
                                   node({whole(2)}, {whole(3)}), node({}, {whole(1)}),
                                   node({whole(9)}, {whole(8)})};
  EXPECT_EQ(order_of(nodes), (std::vector<size_t>{0, 4, 1, 2, 3}));
}

TEST(Reorder, DisjointSlicesAreIndependent) {
  const std::vector<Node> nodes = {node({}, {{1, 0, 32}}), node({{1, 0, 32}}, {{2, 0, 4}}),
                                   node({}, {{1, 32, 64}})};
  EXPECT_EQ(order_of(nodes), (std::vector<size_t>{0, 2, 1}));
}

TEST(Reorder, LooksNoFurtherThan63Places) {
  std::vector<Node> nodes = {node({}, {whole(1)})};
  for (int i = 0; i < 63; ++i) nodes.push_back(node({whole(1)}, {whole(1)}));
  nodes.push_back(node({}, {whole(2)}));  // 63 places behind node 1
  nodes.push_back(node({}, {whole(3)}));  // 64
  const std::vector<size_t> order = order_of(nodes);
  EXPECT_EQ(order[1], 64u);
  EXPECT_EQ(order[2], 1u);
  EXPECT_EQ(order[3], 65u);
}

TEST(Reorder, ANodeWithoutMemoryKeepsAllInPlace) {
  std::vector<Node> nodes = {behind_barrier(node({}, {whole(1)})), node({whole(1)}, {whole(2)}),
                             behind_barrier(node({}, {})), node({}, {whole(3)}),
                             behind_barrier(node({}, {whole(4)}))};
  const GraphStats stats = optimise(nodes);
  EXPECT_EQ(stats.moved, 0u);
  EXPECT_EQ(stats.unannotated, 1u);
  // One by its bytes and two that were asked for; in front of the first there is nothing.
  EXPECT_EQ(barriers_of(nodes), (std::vector<bool>{false, true, true, false, true}));
  EXPECT_EQ(stats.groups, (std::array<size_t, 8>{3, 1, 0, 0, 0, 0, 0, 0}));
}

TEST(Reorder, DropsBarriersThatNoBytesNeed) {
  const std::vector<Node> captured = {node({}, {whole(1)}), behind_barrier(node({}, {whole(2)})),
                                      behind_barrier(node({whole(1)}, {whole(3)}))};
  std::vector<Node> nodes = captured;
  optimise(nodes);
  EXPECT_EQ(barriers_of(nodes), (std::vector<bool>{false, false, true}));
  nodes = captured;
  optimise(nodes, {});
  EXPECT_EQ(barriers_of(nodes), (std::vector<bool>{false, true, true})) << "nothing may move";
}

TEST(Reorder, RandomGraphsKeepEveryDependence) {
  std::mt19937 random(7);
  const auto below = [&](uint32_t n) { return random() % n; };
  for (int round = 0; round < 300; ++round) {
    std::vector<Node> nodes;
    for (uint32_t i = 0, count = 2 + below(80); i < count; ++i) {
      const auto range = [&] {
        const uint64_t begin = below(8);
        return backends::MemoryRange{1 + below(6), begin, begin + 1 + below(4)};
      };
      nodes.push_back(node({range(), range()}, {range()}));
    }
    const std::vector<size_t> order = order_of(nodes);
    std::vector<size_t> place(nodes.size(), nodes.size());
    for (size_t k = 0; k < order.size(); ++k) place.at(order[k]) = k;
    for (size_t i = 0; i < nodes.size(); ++i) {
      ASSERT_LT(place[i], nodes.size()) << "node " << i << " is missing";
      for (size_t j = i + 1; j < nodes.size(); ++j) {
        if (conflict(nodes[i].access, nodes[j].access)) {
          ASSERT_LT(place[i], place[j]) << i << " and " << j;
        }
      }
    }
  }
}

// Joins with whatever is behind it and leaves `unwritten` alone.
struct Eager final : Fusible {
  explicit Eager(Buffer b) : unwritten(std::move(b)) {}
  std::optional<Joined> join(const Fusible&) const override {
    return Joined{[](StreamImpl&) {}, unwritten};
  }
  Buffer unwritten;
};

TEST(Join, WhatStaysUnwrittenMustBeNobodysInput) {
  const Device device = Device::open("cpu", {.num_threads = 1});
  const Buffer x = device.alloc(f32, {16}), t = device.alloc(f32, {16}),
               y = device.alloc(f32, {16});
  const auto touch = [](std::vector<Buffer> reads, std::vector<Buffer> writes, Buffer unwritten) {
    Access access;
    for (const Buffer& b : reads) access.read(b);
    for (const Buffer& b : writes) access.write(b);
    access.fusible = std::make_shared<Eager>(std::move(unwritten));
    return access;
  };
  const Access first = touch({x}, {t}, t), second = touch({t}, {y}, {});
  const Access reader = touch({t.slice(60, 1)}, {x}, {}), writer = touch({}, {t}, {});
  const Access half_writer = touch({}, {t.slice(0, 8)}, {});
  const std::vector<Buffer> temporaries = {t};
  const auto joins = [&](std::vector<const Access*> nodes, size_t i,
                         std::span<const Buffer> unneeded) {
    return backends::join_at(nodes, i, unneeded).has_value();
  };
  EXPECT_TRUE(joins({&first, &second}, 0, temporaries));
  EXPECT_FALSE(joins({&first, &second}, 0, {})) << "somebody outside may read it";
  const std::vector<Buffer> part = {t.slice(0, 15)};
  EXPECT_FALSE(joins({&first, &second}, 0, part));
  EXPECT_FALSE(joins({&first, &second, &reader}, 0, temporaries));
  EXPECT_TRUE(joins({&first, &second, &writer, &reader}, 0, temporaries)) << "written anew first";
  EXPECT_FALSE(joins({&first, &second, &half_writer, &reader}, 0, temporaries));
  EXPECT_FALSE(joins({&reader, &first, &second}, 1, temporaries)) << "the next replay reads it";
  const Access unknown = touch({}, {}, {});
  EXPECT_FALSE(joins({&first, &second, &unknown}, 0, temporaries)) << "it may read anything";
  EXPECT_TRUE(joins({&first, &second, &writer, &unknown}, 0, temporaries));
  Access plain = second;
  plain.fusible = nullptr;
  EXPECT_FALSE(joins({&first, &plain}, 0, temporaries));
}

TEST(Join, KeepsTheBarriersOfBoth) {
  // Four dispatches, the middle two of which become one, with barriers in front of some.
  const auto join = [](const std::vector<bool>& asked) {
    std::vector<Node> nodes = {node({}, {}), node({}, {whole(1)}), node({whole(1)}, {whole(2)}),
                               node({}, {})};
    for (size_t i = 0; i < nodes.size(); ++i) nodes[i].access.after_barrier = asked[i];
    for (size_t i : {1, 2}) nodes[i].access.fusible = std::make_shared<Eager>(Buffer());
    const GraphStats stats = optimise(nodes, {.fuse = true});
    EXPECT_EQ(stats.fused, 1u);
    return barriers_of(nodes);
  };
  EXPECT_EQ(join({false, false, false, false}), (std::vector<bool>{false, false, false}));
  EXPECT_EQ(join({false, true, false, false}), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(join({false, false, true, false}), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(join({false, false, false, true}), (std::vector<bool>{false, false, true}));
}

TEST(Graph, KeepsBarriersBetweenDispatchesWithoutMemory) {
  for (const GraphOptions& options :
       {GraphOptions{}, GraphOptions{.fuse = true}, GraphOptions{.reorder = true}}) {
    const Device device = Device::open("cpu", {.num_threads = 3});
    Stream stream(device);
    const auto record = [&] {
      backends::cpu::cpu_stream(stream.impl()).dispatch("nothing", "test", {}, 1, [](uint32_t) {});
    };
    stream.begin_capture();
    stream.barrier();  // nothing to order
    for (int i = 0; i < 3; ++i) {
      record();
      stream.barrier();
      stream.barrier();
    }
    const Graph graph = stream.end_capture(options);
    EXPECT_EQ(graph.barrier_count(), 2u);
    EXPECT_EQ(graph.stats().groups[0], 3u);
  }
}

TEST(Graph, ReorderedReplaysGiveTheSameBytes) {
  for (const bool reorder : {false, true}) {
    const Device device = Device::open("cpu", {.num_threads = 3});
    Stream stream(device);
    std::vector<Buffer> chain;
    for (int i = 0; i < 8; ++i) chain.push_back(device.alloc(f32, {100}));
    stream.begin_capture();
    for (int c = 0; c < 2; ++c) {
      for (int i = 0; i < 3; ++i) {
        Access access;
        const Buffer in = chain[4 * c + i], out = chain[4 * c + i + 1];
        access.read(in);
        access.write(out);
        backends::cpu::cpu_stream(stream.impl())
            .dispatch("add_one", "test", access, 100, [in, out](uint32_t task) {
              out.span<float>()[task] = in.span<float>()[task] + 1.0f;
            });
      }
    }
    const uint64_t recorded = stream.counters().dispatches;
    const Graph graph = stream.end_capture({.reorder = reorder});
    EXPECT_EQ(stream.counters().dispatches, recorded);
    EXPECT_EQ(graph.dispatch_count(), 6u);
    EXPECT_EQ(graph.barrier_count(), reorder ? 2u : 4u);
    EXPECT_EQ(graph.stats().groups[0], reorder ? 0u : 4u);
    EXPECT_EQ(graph.stats().groups[1], reorder ? 3u : 1u);
    stream.replay(graph);
    stream.commit().wait();
    EXPECT_EQ(chain[3].span<float>()[99], 3.0f);
    EXPECT_EQ(chain[7].span<float>()[0], 3.0f);
  }
}

}  // namespace
}  // namespace mlxn
