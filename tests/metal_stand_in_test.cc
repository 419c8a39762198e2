// SPDX-License-Identifier: Apache-2.0
// What only the stand-in for Apple's frameworks can show: how the backend encodes, how it takes
// failures, and that the stand-in finds what it is there to find.
#include <cstdlib>
#include <filesystem>

#include "backends/gpu_copy.h"
#include "backends/metal/metal_device.h"
#include "backends/metal/metal_devices.h"
#include "fake_metal/fake_metal.h"
#include "kernels/common/test_kit.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/stream.h"

namespace mlxn {
namespace {

using backends::Access;
using backends::GpuLaunch;

class StandIn : public ::testing::Test {
 protected:
  void SetUp() override { fake_metal::log() = {}; }
  void TearDown() override { fake_metal::behaviour() = {}; }

  // Bytes of `from` to `to`; `access` is what the tracker hears of it.
  void copy(const Buffer& from, const Buffer& to, Access access, uint32_t pieces = 1) {
    access.keep = {from, to};
    GpuLaunch launch{.op = "test", .kernel = "copy_bytes"};
    launch.buffer(from.data()).buffer(to.data());
    launch.constants(GpuCopy{.pieces = pieces, .tail = 16, .vectors = 1});
    backends::gpu_stream(stream.impl()).launch(std::move(launch), std::move(access));
  }

  Device device = testing::test_device();
  Stream stream{device};
};

TEST_F(StandIn, ACommitIsOneConcurrentEncoderWithItsBarriers) {
  const Buffer x = device.alloc(f32, {64}), y = device.alloc(f32, {64});
  fake_metal::log() = {};
  for (int i = 0; i < 5; ++i) {
    ops::scale(stream, {.x = x, .out = y, .factor = 2.0f});
    ops::scale(stream, {.x = y, .out = x, .factor = 2.0f});
  }
  EXPECT_EQ(fake_metal::log().command_buffers, 0u);
  stream.commit().wait();
  EXPECT_EQ(fake_metal::log().command_buffers, 1u);
  EXPECT_EQ(fake_metal::log().encoders, 1u);
  EXPECT_EQ(fake_metal::log().dispatches, 10u);
  EXPECT_EQ(fake_metal::log().barriers, 9u);
  EXPECT_EQ(stream.counters().barriers, 9u);
  stream.commit().wait();  // of nothing
  EXPECT_EQ(fake_metal::log().command_buffers, 1u);
}

TEST_F(StandIn, AReplayIsOneCommandBufferOfItsBarriers) {
  const Buffer x = device.upload(std::vector<float>(64, 1.0f).data(), f32, {64});
  const Buffer y = device.alloc(f32, {64}), z = device.alloc(f32, {64});
  stream.begin_capture();
  ops::scale(stream, {.x = x, .out = y, .factor = 2.0f});
  ops::scale(stream, {.x = y, .out = x, .factor = 2.0f});
  const Graph graph = stream.end_capture();
  fake_metal::log() = {};
  stream.replay(graph);
  stream.replay(graph);
  ops::scale(stream, {.x = x, .out = z, .factor = 2.0f});  // the tracker knows nothing of graphs
  stream.commit().wait();
  EXPECT_EQ(fake_metal::log().command_buffers, 1u);
  EXPECT_EQ(fake_metal::log().dispatches, 5u);
  EXPECT_EQ(fake_metal::log().barriers, 4u);
  EXPECT_EQ(stream.counters().barriers, 4u);
  EXPECT_EQ(z.span<float>()[0], 32.0f);
}

TEST_F(StandIn, AProfileTimesEveryDispatchAlone) {
  const Buffer x = device.alloc(f32, {64});
  stream.set_profiling(true);
  for (int i = 0; i < 3; ++i) ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
  stream.commit().wait();
  EXPECT_EQ(fake_metal::log().command_buffers, 3u);
  EXPECT_EQ(fake_metal::log().barriers, 0u);
}

TEST_F(StandIn, ATraceHoldsTheCommandBuffersOfOneCommit) {
  DeviceOptions options;
  options.gpu_trace = "stand_in.gputrace";
  const Device traced = Device::open("metal", options);
  Stream work(traced);
  const Buffer x = traced.alloc(f32, {64});
  for (int i = 0; i < 2; ++i) {
    ops::scale(work, {.x = x, .out = x, .factor = 2.0f});
    work.commit().wait();
  }
  std::filesystem::remove("stand_in.gputrace");
  EXPECT_EQ(fake_metal::log().traces,
            std::vector<std::string>{"stand_in.gputrace: 1 command buffers"});
  fake_metal::behaviour().may_trace = false;
  testing::expect_error(ErrorKind::kInvalidArgument, {"gpu_trace", "MTL_CAPTURE_ENABLED=1"},
                        [&] { Device::open("metal", options); });
}

TEST_F(StandIn, AMissingBarrierShows) {
  const std::vector<float> values = {1.0f, 2.0f, 3.0f, 4.0f};
  const Buffer x = device.upload(values.data(), f32, {4});
  const Buffer y = device.alloc(f32, {4}), z = device.alloc(f32, {4});
  const auto chain = [&](bool declared) {
    Access first, second;
    if (declared) {
      first.write(y);
      second.read(y);
    }
    copy(x, y, first);
    copy(y, z, second);
    stream.commit().wait();
    return std::vector<float>(z.span<float>().begin(), z.span<float>().end());
  };
  EXPECT_EQ(chain(false), std::vector<float>(4, 0.0f));
  EXPECT_EQ(chain(true), values);
}

TEST_F(StandIn, ALostDeviceIsAnErrorOfTheWait) {
  const Buffer x = device.alloc(f32, {64});
  std::vector<float> untouched(64, 7.0f);
  fake_metal::behaviour().command_buffer_error = MTL::CommandBufferErrorDeviceRemoved;
  ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
  stream.download(x, untouched.data());
  EXPECT_NO_THROW(stream.commit());
  try {
    stream.wait();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCommandBuffer);
    EXPECT_TRUE(error.is_transient());
    EXPECT_EQ(error.detail().parameter, "scale, download");
    EXPECT_EQ(error.detail().found,
              "MTLCommandBufferErrorDeviceRemoved (a failure that the test asked for)");
  }
  EXPECT_EQ(untouched, std::vector<float>(64, 7.0f));
  for (const auto& [code, name] : {std::pair{MTL::CommandBufferErrorOutOfMemory, "OutOfMemory"},
                                   std::pair{MTL::CommandBufferErrorTimeout, "Timeout"}}) {
    fake_metal::behaviour().command_buffer_error = code;
    ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
    testing::expect_error(ErrorKind::kCommandBuffer, {name}, [&] { stream.commit().wait(); });
  }
  fake_metal::behaviour().command_buffer_error = 0;
  ops::scale(stream, {.x = x, .out = x, .factor = 2.0f});
  EXPECT_NO_THROW(stream.commit().wait());
}

TEST_F(StandIn, AKernelThatReachesTooFarFails) {
  const Buffer x = device.alloc(f32, {4}), y = device.alloc(f32, {8});
  Access access;
  access.write(y);
  copy(x, y, access, 2);
  testing::expect_error(ErrorKind::kCommandBuffer, {"test", "out-of-bounds read", "from[16]"},
                        [&] { stream.commit().wait(); });
}

TEST_F(StandIn, MemoryEndsWithTheWorkingSet) {
  const size_t used = device.allocated_bytes();
  fake_metal::behaviour().working_set = used + 4096;
  const Buffer most = device.alloc(u8, {2048});
  testing::expect_error(ErrorKind::kBufferAllocation, {"Device::alloc: bytes: found 3000"},
                        [&] { device.alloc(u8, {3000}); });
  fake_metal::behaviour() = {};
  fake_metal::behaviour().longest_buffer = 1000;
  testing::expect_error(ErrorKind::kBufferAllocation, {"1001", "1000 in one buffer"},
                        [&] { device.alloc(u8, {1001}); });
  EXPECT_NO_THROW(device.alloc(u8, {1000}));
}

TEST_F(StandIn, MemoryThatMetalDoesNotMapIsCopied) {
  fake_metal::behaviour().maps_foreign_memory = false;
  std::vector<float> values = {1.0f, 2.0f, 3.0f, 4.0f};
  const Buffer x = device.wrap(values.data(), 16, f32, {4}, nullptr);
  EXPECT_NE(x.data(), reinterpret_cast<std::byte*>(values.data()));
  EXPECT_FALSE(x.allocation()->writable);
  const Buffer y = device.alloc(f32, {4});
  ops::scale(stream, {.x = x, .out = y, .factor = 1.0f});
  stream.commit().wait();
  EXPECT_EQ(std::vector<float>(y.span<float>().begin(), y.span<float>().end()), values);
  testing::expect_error(ErrorKind::kInvalidArgument, {"Device::wrap", "does not map"},
                        [&] { device.wrap(values.data(), 16, f32, {4}, nullptr, true); });
}

TEST_F(StandIn, AKernelIsMadeForTheThreadsThatItsLaunchWants) {
  auto& cache = dynamic_cast<backends::metal::MetalDevice&>(*device.impl()).pipelines();
  EXPECT_EQ(cache.get({.op = "test", .kernel = "softmax_f32", .threads = 512}).max_threads, 512u);
  EXPECT_EQ(cache.pipeline_count(), 1u);
  EXPECT_EQ(cache.get({.op = "test", .kernel = "softmax_f32", .threads = 1024}).max_threads, 1024u);
  EXPECT_EQ(cache.pipeline_count(), 2u);
  EXPECT_EQ(fake_metal::log().libraries, 1u);
}

TEST_F(StandIn, TheDeviceIsListedWithItsMemory) {
  const auto devices = backends::metal::list_devices();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].id, "metal:0");
  EXPECT_TRUE(devices[0].available);
  EXPECT_EQ(devices[0].description, "Metal stand-in");
  EXPECT_EQ(devices[0].memory.total, uint64_t{16} << 30);
  EXPECT_LT(devices[0].memory.free, devices[0].memory.total);  // the fixture's device has some
  EXPECT_THROW(backends::metal::open_device("metal:1", {}), Error);
}

using StandInDeathTest = StandIn;

TEST_F(StandInDeathTest, MisuseOfTheInterfaceEndsTheProcess) {
  const backends::metal::AutoreleaseScope scope;
  const auto metal = NS::TransferPtr(MTL::CreateSystemDefaultDevice());
  const auto queue = NS::TransferPtr(metal->newCommandQueue());
  const auto begin = [&](MTL::CommandBuffer* commands) {
    return commands->computeCommandEncoder(MTL::DispatchTypeConcurrent);
  };
  MTL::CommandBuffer* const commands = queue->commandBuffer();
  MTL::ComputeCommandEncoder* const encoder = begin(commands);
  const std::vector<char> bytes(5000);
  EXPECT_DEATH(encoder->setBytes(bytes.data(), 5000, 0), "not 1 to 4096 bytes");
  EXPECT_DEATH(encoder->setBuffer(nullptr, 0, 0), "nil");
  EXPECT_DEATH(encoder->setThreadgroupMemoryLength(8, 0), "no multiple of 16");
  EXPECT_DEATH(encoder->dispatchThreadgroups(MTL::Size(1, 1, 1), MTL::Size(32, 1, 1)),
               "without a pipeline");
  EXPECT_DEATH(begin(commands), "beside another");
  EXPECT_DEATH(commands->commit(), "commit while encoding");
  EXPECT_DEATH(commands->waitUntilCompleted(), "not committed");
  EXPECT_DEATH(metal->newBuffer(bytes.data() + 1, 100, MTL::ResourceStorageModeShared, nullptr),
               "not that of a page");
  EXPECT_DEATH(metal->newFence(), "unrecognised selector");
  encoder->endEncoding();
  EXPECT_DEATH(encoder->endEncoding(), "second time");
}

TEST(StandInLeakDeathTest, LeaksAndObjectsWithoutAPoolEndTheProcess) {
  const auto end = [](bool leak) {
    MTL::Device* const device = MTL::CreateSystemDefaultDevice();
    if (!leak) device->release();
    std::exit(0);
  };
  EXPECT_EXIT(end(false), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(end(true), ::testing::ExitedWithCode(1), "1 of MTLDevice leaked");
  EXPECT_DEATH(NS::String::string("text", NS::UTF8StringEncoding), "without a pool");
}

}  // namespace
}  // namespace mlxn
