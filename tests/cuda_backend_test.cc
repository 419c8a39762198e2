// SPDX-License-Identifier: Apache-2.0
// The CUDA backend: memory, copies, failures; graphs: model_bits_test. Ends as "skipped" where
// there is no GPU.
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "kernels/common/test_kit.h"
#include "mlxn/device.h"
#include "mlxn/ops/elementwise.h"
#include "mlxn/ops/rms_norm.h"
#include "mlxn/stream.h"

namespace mlxn {
namespace {

Device open_cuda(bool unified = false) {
  DeviceOptions options;
  options.unified_memory = unified;
  try {
    return Device::open("cuda", options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeviceNotFound) throw;
    std::fprintf(stderr, "SKIPPED: %s\n", error.what());
    std::_Exit(testing::kSkipped);
  }
}

class Cuda : public ::testing::Test {
 protected:
  Device device = open_cuda();
};

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), -3.5f);
  return values;
}

std::vector<float> read_back(const Device& device, const Buffer& buffer) {
  std::vector<float> values(static_cast<size_t>(buffer.element_count()));
  device.download(buffer, values.data());
  return values;
}

TEST_F(Cuda, MemoryIsZeroedAndOutOfTheHostsReach) {
  EXPECT_FALSE(device.host_visible());
  const Buffer buffer = device.alloc(f32, {5, 7});
  EXPECT_FALSE(buffer.host_visible());
  EXPECT_THROW(buffer.span<float>(), Error);
  EXPECT_EQ(read_back(device, buffer), std::vector<float>(35, 0.0f));
}

TEST_F(Cuda, CopiesOfEverySizeComeBack) {
  // Copies go through staging blocks of 8 MiB: below, at, between and beyond multiples of it.
  for (const int64_t count : {1, 1000, (2 << 20), (2 << 20) + 1, (4 << 20) - 3, 5'000'001}) {
    const std::vector<float> values = ramp(static_cast<size_t>(count));
    EXPECT_EQ(read_back(device, device.upload(values.data(), f32, {count})), values) << count;
  }
  const std::vector<float> values = ramp(64);
  const Buffer whole = device.alloc(f32, {128});
  device.upload(whole.slice(64 * sizeof(float), 64), values.data());
  const std::vector<float> found = read_back(device, whole);
  EXPECT_EQ(std::vector<float>(found.begin() + 64, found.end()), values);
  EXPECT_EQ(found[63], 0.0f);
}

TEST_F(Cuda, StreamCopiesAreInOrderWithTheWork) {
  Stream stream(device);
  const int64_t rows = 33, dim = 512;
  std::vector<float> x = ramp(static_cast<size_t>(rows * dim)), first(x.size()), second(x.size());
  const Buffer in = device.alloc(f32, {rows, dim}), out = device.alloc(f32, {rows, dim});
  stream.upload(in, x.data());
  std::fill(x.begin(), x.end(), 1.0f);  // upload has read it
  ops::rms_norm(stream, {.x = in, .out = out, .eps = 1e-6f});
  stream.download(out, first.data());
  stream.upload(in, x.data());
  ops::rms_norm(stream, {.x = in, .out = out, .eps = 1e-6f});
  stream.download(out, second.data());
  stream.commit().wait();
  EXPECT_LT(first[0], 0.0f);
  for (const float v : second) EXPECT_NEAR(v, 1.0f, 1e-5f);
}

TEST_F(Cuda, TooMuchMemoryIsAnErrorAndTheProcessGoesOn) {
  const size_t before = device.allocated_bytes();
  try {
    device.alloc(u8, {int64_t{1} << 43});  // 8 TiB
    FAIL() << "8 TiB were handed out";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBufferAllocation);
    EXPECT_NE(std::string(error.what()).find(std::to_string(int64_t{1} << 43)), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("free of"), std::string::npos);
  }
  EXPECT_EQ(device.allocated_bytes(), before);
  const Buffer x = device.alloc(f32, {4, 64});
  Stream stream(device);
  ops::rms_norm(stream, {.x = x, .out = x, .eps = 1e-6f});
  EXPECT_NO_THROW(stream.commit().wait());
}

TEST_F(Cuda, FreedMemoryIsUsedAgain) {
  const Buffer kept = device.alloc(f32, {1000});
  const size_t before = device.allocated_bytes();
  for (int i = 0; i < 100; ++i) {
    const Buffer buffer = device.alloc(f32, {1 << 20});
    EXPECT_EQ(read_back(device, buffer.slice(0, 4)), std::vector<float>(4, 0.0f));
    device.upload(buffer.slice(0, 4), ramp(4).data());
  }
  EXPECT_EQ(device.allocated_bytes(), before);
}

TEST_F(Cuda, WrongBuffersAreNamed) {
  const Device cpu = Device::open("cpu");
  const Buffer host = cpu.alloc(f32, {8});
  std::vector<float> values(8);
  EXPECT_THROW(device.upload(host, values.data()), Error);
  EXPECT_THROW(device.download(host, values.data()), Error);
  EXPECT_THROW(device.wrap(values.data(), 32, f32, {8}, nullptr, true), Error);
  const Buffer copied = device.wrap(values.data(), 32, f32, {8}, nullptr);
  EXPECT_THROW(device.upload(copied, values.data()), Error);  // read-only
  EXPECT_THROW(Device::open("cuda:99"), Error);
  EXPECT_THROW(Device::open("cuda:x"), Error);
}

TEST_F(Cuda, ForeignMemoryAndStreamsAreUsedAsTheyAre) {
  const std::vector<float> values = ramp(64);
  const Buffer theirs = device.upload(values.data(), f32, {64});
  const auto owner = std::make_shared<int>(0);
  {
    const Buffer ours = device.adopt(theirs.data(), theirs.byte_len(), f32, {8, 8}, owner);
    EXPECT_EQ(ours.data(), theirs.data());
    Stream stream = Stream::on(device, nullptr);
    ops::scale(stream, {.x = ours, .out = ours, .factor = 2.0f});
    stream.commit().wait();
  }
  EXPECT_EQ(owner.use_count(), 1);
  std::vector<float> expected = values;
  for (float& v : expected) v *= 2.0f;
  EXPECT_EQ(read_back(device, theirs), expected);
  std::vector<float> host(8);
  EXPECT_THROW(device.adopt(host.data(), 32, f32, {8}, nullptr), Error);
  EXPECT_THROW(device.adopt(theirs.data(), theirs.byte_len(), f32, {65}, nullptr), Error);
}

TEST_F(Cuda, ProfileHasTheGpusTimes) {
  Stream stream(device);
  const Buffer x = device.alloc(f32, {4096, 4096});
  stream.set_profiling(true);
  for (int i = 0; i < 3; ++i) ops::rms_norm(stream, {.x = x, .out = x, .eps = 1e-6f});
  stream.commit().wait();
  const std::vector<ProfileEvent> all = stream.take_profile();
  std::vector<ProfileEvent> events;
  for (const ProfileEvent& event : all) {
    if (event.on_gpu) {
      events.push_back(event);
    } else {
      EXPECT_EQ(event.entry, "host") << event.name;
    }
  }
  ASSERT_EQ(events.size(), 3u);
  ASSERT_EQ(all.size(), 5u);  // "commit" and "wait" besides
  const std::string trace = chrome_trace_json(all);
  EXPECT_NE(trace.find("\"GPU\""), std::string::npos);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].name, "rms_norm");
    EXPECT_GT(events[i].end_ns, events[i].begin_ns);  // 134 MB: tens of microseconds
    if (i > 0) {
      EXPECT_GE(events[i].begin_ns, events[i - 1].begin_ns);
    }
  }
}

}  // namespace
}  // namespace mlxn
