// SPDX-License-Identifier: Apache-2.0
// Devices, buffers, the pool, hazard tracking, streams and graphs.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "backends/cpu/cpu_stream.h"
#include "backends/kernel_cache.h"
#include "mlxn/device.h"
#include "mlxn/stream.h"

namespace mlxn {
namespace {

using backends::Access;
using backends::HazardTracker;
using backends::MemoryRange;
using backends::cpu::cpu_stream;

Device open_cpu(int num_threads = 3) { return Device::open("cpu", {.num_threads = num_threads}); }

void add_one(Stream& stream, const Buffer& in, const Buffer& out) {
  Access access;
  access.read(in);
  access.write(out);
  const auto source = in.span<float>(), target = out.span<float>();
  cpu_stream(stream.impl())
      .dispatch("add_one", "test", access, static_cast<uint32_t>(source.size()),
                [source, target](uint32_t i) { target[i] = source[i] + 1.0f; });
}

TEST(Device, OpensAndNamesItself) {
  const Device device = Device::best();
  EXPECT_FALSE(device.name().empty());
  EXPECT_GE(device.num_threads(), 1);
  EXPECT_THROW(Device::open("cuda:99"), Error);
  EXPECT_THROW(Device::open("toaster"), Error);
  EXPECT_THROW(Device::open("cpu", {.num_threads = -1}), Error);
  EXPECT_EQ(Device::open("cpu", {.max_isa = Isa::kBaseline}).isa(), Isa::kBaseline);
}

TEST(Device, AllocatesZeroedMemoryAndCountsIt) {
  const Device device = open_cpu();
  const size_t before = device.allocated_bytes();
  {
    const Buffer buffer = device.alloc(f32, {3, 5});
    EXPECT_EQ(buffer.byte_len(), 60u);
    EXPECT_EQ(buffer.element_count(), 15);
    for (float value : buffer.span<float>()) EXPECT_EQ(value, 0.0f);
    EXPECT_GT(device.allocated_bytes(), before);
    const Buffer part = buffer.rows(1, 1);
    EXPECT_EQ(part.data(), buffer.data() + 20);
  }
  EXPECT_EQ(device.allocated_bytes(), before);
  EXPECT_THROW(device.alloc(f32, {0}), Error);
  EXPECT_THROW(device.alloc(f32, {-1, 4}), Error);
  EXPECT_THROW(device.alloc(f32, {int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(device.alloc(f32, {int64_t{1} << 55}), Error);
}

TEST(Device, AdoptsMemoryOfTheHostAndHasNoForeignStreams) {
  const Device device = Device::open("cpu");
  std::vector<float> values(8, 1.0f);
  const Buffer buffer = device.adopt(values.data(), 32, f32, {2, 4}, nullptr);
  buffer.span<float>()[5] = 3.0f;
  EXPECT_EQ(values[5], 3.0f);
  EXPECT_THROW(device.adopt(values.data(), 32, f32, {9}, nullptr), Error);
  try {
    Stream::on(device, nullptr);
    FAIL() << "a CPU has no streams of the caller";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "Stream::on: device: found cpu, required cuda: other devices have no streams of "
                 "the caller");
  }
}

TEST(Buffer, SlicesAreRelativeToTheViewAndChecked) {
  const Device device = open_cpu();
  const Buffer whole = device.alloc(u8, {100});
  const Buffer outer = whole.slice(10, 50), inner = outer.slice(5, 20);
  EXPECT_EQ(inner.data(), whole.data() + 15);
  EXPECT_EQ(inner.byte_len(), 20u);
  EXPECT_EQ(inner.span<uint8_t>().size(), 20u);
  EXPECT_THROW(outer.slice(40, 11), Error);
  EXPECT_THROW(outer.slice(51, 0), Error);
  EXPECT_THROW(outer.slice(0, -1), Error);
  EXPECT_THROW(inner.span<double>(), Error);              // 20 bytes
  EXPECT_THROW(inner.slice(0, 16).span<float>(), Error);  // misaligned
  EXPECT_THROW(inner.view_as(f32, {6}), Error);
  EXPECT_THROW(whole.rows(90, 11), Error);
}

TEST(BufferPool, RecyclesBySizeClass) {
  const Device device = open_cpu();
  BufferPool pool(device);
  Buffer a = pool.alloc(u8, {100});
  const std::byte* memory = a.data();
  pool.release(a);
  EXPECT_THROW(pool.release(a), Error);
  const Buffer held = pool.alloc(u8, {128});
  EXPECT_NE(held.data(), memory) << "memory with a live handle was handed out again";
  a = Buffer();
  EXPECT_EQ(pool.alloc(u8, {128}).data(), memory);
  EXPECT_EQ(pool.in_use_count(), 2u);
  pool.alloc(u8, {200});
  pool.reset();
  EXPECT_EQ(pool.in_use_count(), 0u);
  EXPECT_EQ(pool.free_count(), 3u);
  EXPECT_EQ(pool.free_bytes(), 128u + 128u + 256u);
  pool.clear();
  EXPECT_EQ(pool.free_count(), 0u);
  EXPECT_THROW(pool.release(device.alloc(u8, {8})), Error);
  EXPECT_THROW(pool.alloc(u8, {0}), Error);
}

TEST(HazardTracker, FollowsTheRules) {
  HazardTracker tracker;
  const std::vector<MemoryRange> x = {{1, 0, 64}}, y = {{2, 0, 64}}, after_x = {{1, 64, 128}};
  tracker.add(x, {});
  EXPECT_TRUE(tracker.check(x, {}));        // read after read
  EXPECT_FALSE(tracker.check({}, x));       // write after read
  EXPECT_TRUE(tracker.check({}, after_x));  // touching ranges
  EXPECT_TRUE(tracker.check(y, y));         // another allocation
  tracker.add({}, after_x);
  EXPECT_FALSE(tracker.check(after_x, {}));  // read after write
  EXPECT_FALSE(tracker.check({}, after_x));  // write after write
  EXPECT_TRUE(tracker.check({}, std::vector<MemoryRange>{{1, 128, 130}}));
  EXPECT_EQ(tracker.checks(), 7u);
  EXPECT_EQ(tracker.barriers_forced(), 3u);
  EXPECT_FALSE(tracker.check_and_record(x, x));
  EXPECT_EQ(tracker.len(), 2u);  // refused ranges are not kept
  EXPECT_TRUE(tracker.check_and_record(x, y));
  EXPECT_EQ(tracker.len(), 4u);
  tracker.reset();
  EXPECT_TRUE(tracker.empty());
  EXPECT_TRUE(tracker.check(x, x));
}

TEST(KernelCache, MakesEachSpecialisationOnce) {
  backends::KernelCache<int> cache;
  int made = 0;
  const auto make = [&made] { return ++made; };
  const int& plain = cache.get("norm", 0, make);
  EXPECT_EQ(&cache.get("norm", 0, make), &plain);
  EXPECT_EQ(cache.cached_count(), 1u);
  EXPECT_NE(&cache.get("norm", 5, make), &plain);
  cache.get("norms", 0, make);
  EXPECT_EQ(cache.cached_count(), 3u);
  EXPECT_EQ(made, 3);
  EXPECT_EQ(&cache.get("norm", 0, make), &plain);
  EXPECT_TRUE(cache.is_cached("norm", 5));
  EXPECT_FALSE(cache.is_cached("norm", 4));
  cache.invalidate("norm");
  EXPECT_FALSE(cache.is_cached("norm"));
  EXPECT_FALSE(cache.is_cached("norm", 5));
  EXPECT_TRUE(cache.is_cached("norms"));
  EXPECT_EQ(cache.get("norm", 0, make), 4);
}

TEST(KernelCache, AFailureLeavesNothingBehind) {
  backends::KernelCache<int> cache;
  const auto fail = []() -> int { throw Error(ErrorKind::kKernelNotFound, "no"); };
  EXPECT_THROW(cache.get("bad", 0, fail), Error);
  EXPECT_FALSE(cache.is_cached("bad"));
  EXPECT_EQ(cache.get("bad", 0, [] { return 7; }), 7);
}

TEST(KernelCache, ThreadsGetTheSameKernel) {
  backends::KernelCache<int> cache;
  std::atomic<int> made{0};
  std::vector<const int*> found(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 100; ++round) {
        found[i] = &cache.get("k" + std::to_string(round), 0, [&] { return ++made; });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(made, 100);
  for (const int* kernel : found) EXPECT_EQ(kernel, found[0]);
}

TEST(Stream, InsertsBarriersExactlyWhereNeeded) {
  const Device device = open_cpu();
  Stream stream(device);
  const Buffer a = device.alloc(f32, {1000}), b = device.alloc(f32, {1000});
  const Buffer c = device.alloc(f32, {1000}), d = device.alloc(f32, {1000});
  add_one(stream, a, b);
  add_one(stream, a, c);  // independent
  add_one(stream, b, d);  // RAW
  add_one(stream, a, b);  // WAR
  add_one(stream, c, b);  // WAW
  EXPECT_EQ(stream.counters().dispatches, 5u);
  EXPECT_EQ(stream.counters().automatic_barriers, 3u);
  EXPECT_EQ(stream.counters().barriers, 3u);
  EXPECT_EQ(stream.counters().concurrent, 2u);
  stream.commit().wait();
  EXPECT_EQ(d.span<float>()[999], 2.0f);
  EXPECT_EQ(b.span<float>()[0], 2.0f);
}

TEST(Stream, SerialDevicesPutABarrierBeforeEachDispatch) {
  std::vector<std::vector<float>> results;
  for (const bool serial : {false, true}) {
    const Device device = Device::open("cpu", {.num_threads = 3, .serial = serial});
    Stream stream(device);
    const Buffer a = device.alloc(f32, {100}), b = device.alloc(f32, {100});
    const Buffer c = device.alloc(f32, {100});
    add_one(stream, a, b);
    add_one(stream, a, c);
    add_one(stream, b, a);
    stream.commit().wait();
    EXPECT_EQ(stream.counters().barriers, serial ? 2u : 1u);
    EXPECT_EQ(stream.counters().waits, 1u);
    results.emplace_back(a.span<float>().begin(), a.span<float>().end());
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(Stream, ManualBarrierResetsTheTracker) {
  const Device device = open_cpu();
  Stream stream(device);
  const Buffer a = device.alloc(f32, {10}), b = device.alloc(f32, {10});
  stream.barrier();  // nothing to order
  add_one(stream, a, b);
  stream.barrier();
  add_one(stream, b, a);
  EXPECT_EQ(stream.counters().barriers, 1u);
  EXPECT_EQ(stream.counters().automatic_barriers, 0u);
  stream.commit().wait();
  EXPECT_EQ(a.span<float>()[3], 2.0f);
}

TEST(Stream, BarriersOrderDispatchesWithoutMemory) {
  for (const bool serial : {false, true}) {
    const Device device = Device::open("cpu", {.num_threads = 3, .serial = serial});
    Stream stream(device);
    std::atomic<int> ran{0};
    int seen = 0;
    const auto record = [&](uint32_t tasks, const std::function<void()>& run) {
      cpu_stream(stream.impl()).dispatch("op", "test", {}, tasks, [run](uint32_t) { run(); });
    };
    record(100, [&] { ++ran; });
    if (!serial) stream.barrier();
    record(1, [&] { seen = ran; });
    EXPECT_EQ(stream.counters().barriers, 1u);
    EXPECT_EQ(stream.counters().automatic_barriers, 0u);
    stream.commit().wait();
    EXPECT_EQ(seen, 100);
    record(1, [] {});
    EXPECT_EQ(stream.counters().barriers, 1u) << "a commit orders by itself";
  }
}

// x and y are written and then read, one after the other.
TEST(Stream, WriteReadWriteReadTakesTwoBarriers) {
  const Device device = open_cpu();
  Stream stream(device);
  const Buffer a = device.alloc(f32, {16}), x = device.alloc(f32, {16});
  const Buffer y = device.alloc(f32, {16}), from_x = device.alloc(f32, {16}),
               from_y = device.alloc(f32, {16});
  add_one(stream, a, x);
  add_one(stream, x, from_x);
  add_one(stream, a, y);
  add_one(stream, y, from_y);
  EXPECT_EQ(stream.counters().barriers, 2u);
  EXPECT_EQ(stream.counters().automatic_barriers, 2u);
  EXPECT_EQ(stream.counters().concurrent, 2u);
  HazardTracker tracker;
  const auto record = [&](const std::vector<MemoryRange>& reads,
                          const std::vector<MemoryRange>& writes) {
    if (tracker.check_and_record(reads, writes)) return;
    tracker.reset();
    tracker.add(reads, writes);
  };
  const std::vector<MemoryRange> bytes_x = {{1, 0, 64}}, bytes_y = {{2, 0, 64}};
  record({}, bytes_x);
  record(bytes_x, {});
  record({}, bytes_y);
  record(bytes_y, {});
  EXPECT_EQ(tracker.barriers_forced(), 2u);
  EXPECT_EQ(tracker.checks(), 4u);
}

TEST(Stream, LongChainIsOrderedForAnyThreadCount) {
  for (int threads : {1, 2, 3, 8}) {
    const Device device = open_cpu(threads);
    Stream stream(device);
    const Buffer a = device.alloc(f32, {257}), b = device.alloc(f32, {257});
    for (int i = 0; i < 50; ++i) {
      add_one(stream, a, b);
      add_one(stream, b, a);
    }
    stream.commit().wait();
    for (float value : a.span<float>()) ASSERT_EQ(value, 100.0f);
  }
}

TEST(Stream, FailureSurfacesAtWaitAndTheStreamGoesOn) {
  const Device device = open_cpu();
  Stream stream(device);
  cpu_stream(stream.impl()).dispatch("bad", "test", {}, 7, [](uint32_t task) {
    if (task == 3) throw std::runtime_error("task three");
  });
  stream.commit();
  try {
    stream.wait();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_TRUE(error.is_transient());
    EXPECT_NE(std::string(error.what()).find("task three"), std::string::npos);
  }
  const Buffer a = device.alloc(f32, {4}), b = device.alloc(f32, {4});
  add_one(stream, a, b);
  stream.commit().wait();
  EXPECT_EQ(b.span<float>()[0], 1.0f);
}

TEST(Stream, DroppedWorkIsCounted) {
  const Device device = open_cpu();
  const Buffer a = device.alloc(f32, {4}), b = device.alloc(f32, {4});
  const auto dropped_by = [&](const auto& call) {
    const uint64_t before = device.discard_count();
    call();
    return device.discard_count() - before;
  };
  Stream stream(device);
  EXPECT_EQ(dropped_by([&] { stream.discard(); }), 0u);
  EXPECT_EQ(dropped_by([&] {
              add_one(stream, a, b);
              stream.commit().wait();
            }),
            0u);
  EXPECT_EQ(dropped_by([&] {
              add_one(stream, a, b);
              stream.discard();
            }),
            1u);
  EXPECT_EQ(dropped_by([&] { Stream other(device); }), 0u);
  EXPECT_EQ(dropped_by([&] {
              Stream other(device);
              add_one(other, a, b);
            }),
            1u);
  EXPECT_EQ(dropped_by([&] {
              cpu_stream(stream.impl()).dispatch("bad", "test", {}, 1, [](uint32_t) {
                throw std::runtime_error("task");
              });
              stream.commit();
              EXPECT_THROW(stream.wait(), Error);
            }),
            1u);
}

TEST(Stream, DiscardDropsWorkAndCaptures) {
  const Device device = open_cpu();
  Stream stream(device);
  const Buffer a = device.alloc(f32, {4}), b = device.alloc(f32, {4});
  add_one(stream, a, b);
  stream.discard();
  stream.commit().wait();
  EXPECT_EQ(b.span<float>()[0], 0.0f);
  stream.begin_capture();
  add_one(stream, a, b);
  stream.discard();
  EXPECT_FALSE(stream.is_capturing());
  add_one(stream, a, b);
  stream.commit().wait();
  EXPECT_EQ(b.span<float>()[0], 1.0f);
}

TEST(Stream, ManyTasksAndTooMany) {
  const Device device = open_cpu();
  Stream stream(device);
  std::atomic<int64_t> ran{0};
  const auto record = [&](int64_t tasks) {
    cpu_stream(stream.impl()).dispatch("op", "test", {}, tasks, [&](uint32_t task) {
      if (task % 1000003 == 5) ran += task;
    });
  };
  EXPECT_THROW(record(0), Error);
  EXPECT_THROW(record(-1), Error);
  EXPECT_THROW(record(int64_t{1} << 32), Error);
  EXPECT_EQ(stream.counters().dispatches, 0u);
  // More than counters of tasks hold.
  const int64_t many = (int64_t{1} << 26) + 7;
  record(many);
  stream.commit().wait();
  int64_t expected = 0;
  for (int64_t task = 5; task < many; task += 1000003) expected += task;
  EXPECT_EQ(ran, expected);
}

TEST(Graph, ReplaysWithNewValues) {
  const Device device = open_cpu();
  Stream stream(device);
  const Buffer a = device.alloc(f32, {64}), b = device.alloc(f32, {64}),
               c = device.alloc(f32, {64});
  stream.begin_capture();
  EXPECT_THROW(stream.commit(), Error);
  EXPECT_THROW(stream.begin_capture(), Error);
  add_one(stream, a, b);
  add_one(stream, b, c);
  const Graph graph = stream.end_capture();
  EXPECT_EQ(graph.dispatch_count(), 2u);
  EXPECT_EQ(graph.barrier_count(), 1u);
  EXPECT_THROW(stream.end_capture(), Error);
  EXPECT_EQ(c.span<float>()[0], 0.0f) << "capturing must not run anything";
  EXPECT_EQ(stream.counters().dispatches, 2u);
  EXPECT_EQ(stream.counters().barriers, 0u) << "a captured barrier is not inserted yet";
  EXPECT_EQ(stream.counters().automatic_barriers, 0u);
  EXPECT_EQ(stream.counters().concurrent, 0u);
  for (int step = 0; step < 3; ++step) {
    a.span<float>()[5] = static_cast<float>(step);
    stream.replay(graph);
    stream.commit().wait();
    EXPECT_EQ(c.span<float>()[5], static_cast<float>(step + 2));
    EXPECT_EQ(stream.counters().barriers, static_cast<uint64_t>(step + 1));
  }
  add_one(stream, c, a);  // ordered behind the replay recorded before it
  stream.replay(graph);
  stream.replay(graph);
  stream.commit().wait();
  EXPECT_EQ(c.span<float>()[5], 7.0f);
  // Three by the replays so far, one inside each of these two and one in front of it.
  EXPECT_EQ(stream.counters().barriers, 7u);
  EXPECT_EQ(stream.counters().dispatches, 3u);
  EXPECT_THROW(stream.replay(Graph()), Error);
}

TEST(Stream, SeveralStreamsFromSeveralThreads) {
  const Device device = open_cpu(2);
  std::vector<std::thread> threads;
  std::vector<float> results(4);
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      Stream stream(device);
      const Buffer a = device.alloc(f32, {100}), b = device.alloc(f32, {100});
      for (int round = 0; round < 20; ++round) {
        add_one(stream, a, b);
        add_one(stream, b, a);
        stream.commit().wait();
      }
      results[i] = a.span<float>()[99];
    });
  }
  for (auto& thread : threads) thread.join();
  for (float result : results) EXPECT_EQ(result, 40.0f);
}

TEST(Profile, IsChromeTraceJson) {
  const Device device = open_cpu();
  Stream stream(device);
  stream.set_profiling(true);
  const Buffer a = device.alloc(f32, {64}), b = device.alloc(f32, {64});
  add_one(stream, a, b);
  add_one(stream, b, a);
  stream.commit().wait();
  const auto events = stream.take_profile();
  ASSERT_GE(events.size(), 2u);
  for (const auto& event : events) EXPECT_LE(event.begin_ns, event.end_ns);
  const auto trace = nlohmann::json::parse(chrome_trace_json(events));
  size_t spans = 0;
  for (const auto& event : trace["traceEvents"]) spans += event["ph"] == "X";
  EXPECT_EQ(spans, events.size());
  EXPECT_EQ(trace.dump().find("GPU"), std::string::npos);
  EXPECT_TRUE(stream.take_profile().empty());
}

TEST(Profile, TraceHoldsHostAndGpuOnOneAxis) {
  const std::vector<ProfileEvent> events = {{"commit", "host", 0, 0, 500, false},
                                            {"rms_norm", "rms_norm_f32_f32", 0, 2000, 5500, true}};
  const auto trace = nlohmann::json::parse(chrome_trace_json(events));
  std::map<int, std::string> processes;
  std::map<std::string, int> process_of;
  for (const auto& event : trace["traceEvents"]) {
    if (event["name"] == "process_name") processes[event["pid"]] = event["args"]["name"];
    if (event["ph"] == "X") process_of[event["name"]] = event["pid"];
    if (event["name"] == "rms_norm") {
      EXPECT_EQ(event["ts"], 2.0);
      EXPECT_EQ(event["dur"], 3.5);
    }
  }
  EXPECT_EQ(processes[process_of["commit"]], "host");
  EXPECT_EQ(processes[process_of["rms_norm"]], "GPU");
}

TEST(Profile, SummaryIsSortedByTime) {
  const std::vector<ProfileRow> rows = summarise_profile(
      {{"a", "x", 0, 0, 10}, {"b", "x", 0, 0, 50}, {"a", "x", 1, 5, 45}, {"a", "y", 0, 0, 1}});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].name, "a");  // 50 as b, and before it
  EXPECT_EQ(rows[0].count, 2u);
  EXPECT_EQ(rows[0].total_ns, 50);
  EXPECT_EQ(rows[0].min_ns, 10);
  EXPECT_EQ(rows[0].max_ns, 40);
  EXPECT_EQ(rows[1].name, "b");
  EXPECT_EQ(rows[2].entry, "y");
  EXPECT_TRUE(summarise_profile({}).empty());
}

}  // namespace
}  // namespace mlxn
