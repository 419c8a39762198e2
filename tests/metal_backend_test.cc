// SPDX-License-Identifier: Apache-2.0
// The Metal backend: shared memory, memory of others, barriers, pipelines, graphs, profile, traces,
// failures. Runs on a Mac's GPU and on the stand-in alike.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "backends/metal/metal_device.h"
#include "base/mapped_file.h"
#include "golden_kit.h"
#include "kernels/common/test_kit.h"
#include "mlxn/device.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/stream.h"

namespace mlxn {
namespace {

using backends::GpuLaunch;
using backends::metal::KernelSource;
using backends::metal::MetalDevice;
using backends::metal::Pipeline;

const char* const kBrokenKernels[] = {"broken", nullptr};
const KernelSource broken("broken", kBrokenKernels,
                          "#include <metal_stdlib>\n#error this text is broken on purpose\n");

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), -3.5f);
  return values;
}

std::vector<float> floats_of(const Buffer& buffer) {
  const auto values = buffer.span<float>();
  return {values.begin(), values.end()};
}

class Metal : public ::testing::Test {
 protected:
  MetalDevice& metal() { return dynamic_cast<MetalDevice&>(*device.impl()); }

  Device device = testing::test_device();
  Stream stream{device};
};

TEST_F(Metal, MemoryIsZeroedSharedAndCounted) {
  EXPECT_EQ(device.kind(), DeviceKind::kMetal);
  EXPECT_TRUE(device.host_visible());
  const size_t before = device.allocated_bytes();
  {
    const Buffer buffer = device.alloc(f32, {5, 7});
    EXPECT_EQ(floats_of(buffer), std::vector<float>(35, 0.0f));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    EXPECT_EQ(device.allocated_bytes(), before + 140);
    ops::scale(stream, {.x = buffer, .out = buffer, .factor = 2.0f});
    stream.commit().wait();
  }
  EXPECT_EQ(device.allocated_bytes(), before);
}

TEST_F(Metal, ForeignMemoryIsUsedWhereItLies) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const std::shared_ptr<void> pages(std::aligned_alloc(page, 4 * page), std::free);
  auto* const values = reinterpret_cast<float*>(static_cast<std::byte*>(pages.get()) + 52);
  for (int i = 0; i < 2000; ++i) values[i] = static_cast<float>(i);
  const size_t before = device.allocated_bytes();
  const Buffer x = device.wrap(values, 8000, f32, {2000}, pages, true);
  EXPECT_EQ(x.data(), reinterpret_cast<std::byte*>(values));
  EXPECT_EQ(device.allocated_bytes(), before);
  ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
  ops::scale(stream, {.x = x.slice(4000, 1000), .out = x.slice(4000, 1000), .factor = 3.0f});
  stream.commit().wait();
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(values[i], static_cast<float>(i) * (i < 1000 ? 2.0f : 6.0f)) << i;
  }
}

TEST_F(Metal, MappedFilesAreReadWithoutACopy) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mlxn_metal_" + std::to_string(::getpid()));
  const std::vector<float> values = ramp(5000);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(values.data()), 20000);
  {
    const auto file = base::MappedFile::open(path.string());
    const size_t before = device.allocated_bytes();
    const Buffer first = device.wrap(file->bytes().data(), 400, f32, {100}, file);
    const Buffer last = device.wrap(file->bytes().data() + 19600, 400, f32, {100}, file);
    EXPECT_EQ(last.data(), file->bytes().data() + 19600);
    EXPECT_EQ(device.allocated_bytes(), before);
    EXPECT_THROW(device.upload(last, values.data()), Error);  // read-only
    const Buffer out = device.alloc(f32, {100});
    ops::add(stream, {.a = first, .b = last, .out = out});
    stream.commit().wait();
    for (size_t i = 0; i < 100; ++i) ASSERT_EQ(out.span<float>()[i], values[i] + values[4900 + i]);
  }
  std::filesystem::remove(path);
}

TEST_F(Metal, WeightsOfAModelStayInTheirFile) {
  const Checkpoint checkpoint = Checkpoint::open(golden::path_of("demo/model-q4_0.gguf"));
  const auto source = models::checkpoint_source(device, checkpoint);
  const models::GemmaWeights weights =
      models::load_weights(device, checkpoint.config(), *source, {false, {}});
  EXPECT_FALSE(weights.layers[0].mlp.gate.data.allocation()->writable);
  EXPECT_GT(checkpoint.total_bytes(), 10'000'000u);
  EXPECT_LT(device.allocated_bytes(), 100'000u);
}

TEST_F(Metal, CopiesAreInOrderWithTheWorkAndExact) {
  const Buffer x = device.alloc(f32, {512}), y = device.alloc(f32, {512});
  std::vector<float> values = ramp(512), first(512), second(512);
  const std::vector<float> expected = ramp(512);
  stream.upload(x, values.data());
  std::fill(values.begin(), values.end(), 1.0f);  // upload has read it
  ops::scale(stream, {.x = x, .out = y, .factor = 2.0f});
  stream.download(y, first.data());
  stream.upload(x, values.data());
  ops::scale(stream, {.x = x, .out = y, .factor = 2.0f});
  stream.download(y, second.data());
  stream.commit().wait();
  for (size_t i = 0; i < 512; ++i) ASSERT_EQ(first[i], 2.0f * expected[i]);
  EXPECT_EQ(second, std::vector<float>(512, 2.0f));

  // Any address, any length, and not a byte beyond.
  for (const int64_t begin : {0, 1, 15, 16}) {
    for (const int64_t count : {1, 15, 16, 17, 4096, 5003}) {
      const Buffer whole = device.alloc(u8, {8192});
      const Buffer part = whole.slice(static_cast<size_t>(begin), count);
      std::vector<uint8_t> bytes(static_cast<size_t>(count)), back(bytes.size());
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(1 + i % 251);
      stream.upload(part, bytes.data());
      stream.download(part, back.data());
      stream.commit().wait();
      ASSERT_EQ(back, bytes) << begin << " " << count;
      const auto all = whole.span<uint8_t>();
      ASSERT_EQ(std::count(all.begin(), all.end(), 0), 8192 - count) << begin << " " << count;
    }
  }
}

TEST_F(Metal, BarriersStandWhereBytesMeet) {
  const Buffer x = device.alloc(f32, {1000}), y = device.alloc(f32, {1000});
  const Buffer z = device.alloc(f32, {1000});
  device.upload(x, std::vector<float>(1000, 1.0f).data());
  stream.reset_counters();
  ops::scale(stream, {.x = x, .out = y, .factor = 2.0f});
  ops::scale(stream, {.x = x, .out = z, .factor = 3.0f});  // beside the first
  ops::add(stream, {.a = y, .b = z, .out = y});            // after both
  ops::scale(stream, {.x = y, .out = x, .factor = 2.0f});  // after that
  stream.commit().wait();
  EXPECT_EQ(stream.counters().dispatches, 4u);
  EXPECT_EQ(stream.counters().barriers, 2u);
  EXPECT_EQ(stream.counters().concurrent, 2u);
  EXPECT_EQ(floats_of(x), std::vector<float>(1000, 10.0f));
}

TEST_F(Metal, ReplayGivesTheBitsOfDirectLaunches) {
  const int64_t rows = 17, dim = 640;
  const std::vector<float> values = ramp(static_cast<size_t>(rows * dim));
  const Buffer in = device.upload(values.data(), f32, {rows, dim});
  const Buffer norm = device.alloc(f32, {rows, dim}), out = device.alloc(f32, {rows, dim});
  const auto record = [&] {
    ops::rms_norm(stream, {.x = in, .out = norm, .eps = 1e-6f});
    ops::softmax(stream, {.x = norm, .out = out});
  };
  record();
  stream.commit().wait();
  const std::vector<float> expected = floats_of(out);
  stream.begin_capture();
  record();
  const Graph graph = stream.end_capture();
  EXPECT_EQ(graph.dispatch_count(), 2u);
  EXPECT_EQ(graph.barrier_count(), 1u);
  for (int i = 0; i < 3; ++i) {
    ops::scale(stream, {.x = out, .out = out, .factor = 0.0f});
    stream.replay(graph);
    ops::scale(stream, {.x = out, .out = out, .factor = 2.0f});
    stream.commit().wait();
    const std::vector<float> found = floats_of(out);
    for (size_t k = 0; k < found.size(); ++k) ASSERT_EQ(found[k], 2.0f * expected[k]) << k;
  }
  Stream other(testing::test_device());
  EXPECT_THROW(other.replay(graph), Error);  // of another device
}

TEST_F(Metal, APipelineIsMadeOncePerNameAndConstants) {
  auto& cache = metal().pipelines();
  GpuLaunch launch{.op = "test", .kernel = "rms_norm_f32_f32"};
  const Pipeline& first = cache.get(launch);
  EXPECT_EQ(cache.pipeline_count(), 1u);
  EXPECT_EQ(cache.module_count(), 1u);
  EXPECT_EQ(&cache.get(launch), &first);
  EXPECT_EQ(cache.pipeline_count(), 1u);
  launch.spec = 1;
  EXPECT_NE(&cache.get(launch), &first);
  EXPECT_EQ(cache.pipeline_count(), 2u);
  launch.kernel = "rms_norm_f16_f32";
  EXPECT_NE(&cache.get(launch), &first);
  EXPECT_EQ(cache.module_count(), 1u);  // the same text
  launch.kernel = "softmax_f32";
  cache.get(launch);
  EXPECT_EQ(cache.module_count(), 2u);
}

TEST_F(Metal, ThreadsThatAskAtOnceGetOnePipeline) {
  std::vector<const Pipeline*> found(4);
  std::vector<std::thread> threads;
  for (const Pipeline*& pipeline : found) {
    threads.emplace_back([this, &pipeline] {
      pipeline = &metal().pipelines().get({.op = "test", .kernel = "softmax_f16"});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Pipeline* const pipeline : found) EXPECT_EQ(pipeline, found[0]);
  EXPECT_EQ(metal().pipelines().pipeline_count(), 1u);
}

TEST_F(Metal, WhatTheCompilerSaysIsInTheError) {
  testing::expect_error(ErrorKind::kKernelCompilation,
                        {"test", "Metal source of broken", "this text is broken on purpose"},
                        [&] { metal().pipelines().get({.op = "test", .kernel = "broken"}); });
  testing::expect_error(ErrorKind::kKernelNotFound, {"test", "no_such_kernel"}, [&] {
    metal().pipelines().get({.op = "test", .kernel = "no_such_kernel"});
  });
}

TEST_F(Metal, LaunchesThatCannotRunAreErrors) {
  const Buffer x = device.alloc(f32, {8});
  const auto launch = [&](GpuLaunch l, const Buffer& declared) {
    backends::Access access;
    access.write(declared);
    backends::gpu_stream(stream.impl()).launch(std::move(l), std::move(access));
  };
  const auto error = ErrorKind::kInvalidArgument;
  testing::expect_error(error, {"softmax_f32: threads", "33", "a multiple of 32"},
                        [&] { launch({.op = "test", .kernel = "softmax_f32", .threads = 33}, x); });
  testing::expect_error(error, {"threads", "2048"}, [&] {
    launch({.op = "test", .kernel = "softmax_f32", .threads = 2048}, x);
  });
  testing::expect_error(error, {"groups", "0"}, [&] {
    launch({.op = "test", .kernel = "softmax_f32", .groups = {1, 0, 1}}, x);
  });
  testing::expect_error(error, {"threadgroup memory", "1048576"}, [&] {
    GpuLaunch large{.op = "test", .kernel = "softmax_f32"};
    launch(std::move(large.threadgroup(1 << 20)), x);
  });
  testing::expect_error(error, {"operand", "no buffer that the op has declared"}, [&] {
    GpuLaunch foreign{.op = "test", .kernel = "softmax_f32"};
    launch(std::move(foreign.buffer(x.data())), device.alloc(f32, {8}));
  });
  EXPECT_NO_THROW(stream.commit().wait());
}

TEST_F(Metal, TooMuchMemoryIsAnErrorAndTheProcessGoesOn) {
  const size_t before = device.allocated_bytes();
  testing::expect_error(ErrorKind::kBufferAllocation,
                        {std::to_string(int64_t{1} << 43), "free of", "in one buffer"},
                        [&] { device.alloc(u8, {int64_t{1} << 43}); });  // 8 TiB
  EXPECT_EQ(device.allocated_bytes(), before);
  const Buffer x = device.alloc(f32, {4, 64});
  ops::rms_norm(stream, {.x = x, .out = x, .eps = 1e-6f});
  EXPECT_NO_THROW(stream.commit().wait());
}

TEST_F(Metal, WhatIsDiscardedNeverRuns) {
  const Buffer x = device.upload(ramp(64).data(), f32, {64});
  ops::scale(stream, {.x = x, .out = x, .factor = 0.0f});
  stream.discard();
  stream.commit().wait();
  EXPECT_EQ(floats_of(x), ramp(64));
}

TEST_F(Metal, ProfileHasTheGpusTimes) {
  const Buffer x = device.alloc(f32, {64, 512});
  stream.set_profiling(true);
  for (int i = 0; i < 3; ++i) ops::rms_norm(stream, {.x = x, .out = x, .eps = 1e-6f});
  stream.commit().wait();
  const std::vector<ProfileEvent> all = stream.take_profile();
  std::vector<ProfileEvent> events;
  std::copy_if(all.begin(), all.end(), std::back_inserter(events),
               [](const ProfileEvent& event) { return event.on_gpu; });
  ASSERT_EQ(events.size(), 3u);
  ASSERT_EQ(all.size(), 5u);         // "commit" and "wait" besides
  EXPECT_GT(events[0].begin_ns, 0);  // since set_profiling
  EXPECT_LT(events[0].begin_ns, int64_t{60} * 1'000'000'000);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].name, "rms_norm");
    EXPECT_EQ(events[i].entry, "rms_norm_f32_f32");
    EXPECT_GT(events[i].end_ns, events[i].begin_ns);
    if (i > 0) {
      EXPECT_GE(events[i].begin_ns, events[i - 1].begin_ns);
    }
  }
  EXPECT_NE(chrome_trace_json(events).find("rms_norm_f32_f32"), std::string::npos);
  EXPECT_TRUE(stream.take_profile().empty());
}

TEST(MetalTrace, OneCommitGoesToADocument) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mlxn_" + std::to_string(::getpid()) + ".gputrace");
  DeviceOptions options;
  options.gpu_trace = path.string();
  options.gpu_trace_commit = 1;
  const Device device = Device::open("metal", options);
  Stream stream(device);
  const Buffer x = device.alloc(f32, {64});
  for (int i = 0; i < 3; ++i) {
    ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
    EXPECT_EQ(std::filesystem::exists(path), i > 1);
    stream.commit().wait();
  }
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove_all(path);
  options.gpu_trace = "trace.json";
  testing::expect_error(ErrorKind::kInvalidArgument, {"gpu_trace", "ends in .gputrace"},
                        [&] { Device::open("metal", options); });
}

}  // namespace
}  // namespace mlxn
