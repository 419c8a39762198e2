// SPDX-License-Identifier: Apache-2.0
// A model that a device has no room for is refused before the device is asked for any memory.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "backends/cpu/cpu_device.h"
#include "mlxn/model.h"

namespace mlxn {
namespace {

constexpr const char* kModel = MLXN_SOURCE_DIR "/demo/model-mlx-4bit";
constexpr uint64_t kPlenty = uint64_t{1} << 40;

// What the devices of this file have free, and how often they took a copy of the host's memory.
uint64_t free_bytes = kPlenty;
int copies = 0;

// A GPU as far as memory goes: its buffers are its own, a wrapped file becomes a copy.
class CopyingDevice final : public backends::cpu::CpuDevice {
 public:
  CopyingDevice(DeviceKind kind, const DeviceOptions& options)
      : CpuDevice(kind, "copying device", options) {}

  DeviceMemory memory() const override { return {kPlenty, free_bytes}; }
  bool host_visible() const override { return false; }
  std::shared_ptr<Allocation> wrap(const void* data, size_t byte_len, std::shared_ptr<void>,
                                   bool) override {
    ++copies;
    auto allocation = allocate(byte_len);
    std::memcpy(allocation->data, data, byte_len);
    allocation->writable = false;
    return allocation;
  }
};

// A CPU of so much memory.
class SmallCpu final : public backends::cpu::CpuDevice {
 public:
  explicit SmallCpu(const DeviceOptions& options)
      : CpuDevice(DeviceKind::kCpu, "small CPU", options) {}
  DeviceMemory memory() const override { return {kPlenty, free_bytes}; }
};

struct Registration {
  Registration() {
    backends::register_backend("copying cuda", [](DeviceOptions options) {
      return std::shared_ptr<DeviceImpl>(new CopyingDevice(DeviceKind::kCuda, options));
    });
    backends::register_backend("copying metal", [](DeviceOptions options) {
      return std::shared_ptr<DeviceImpl>(new CopyingDevice(DeviceKind::kMetal, options));
    });
    backends::register_backend("small cpu", [](DeviceOptions options) {
      return std::shared_ptr<DeviceImpl>(new SmallCpu(options));
    });
  }
};
const Registration registration;

class MemoryTest : public ::testing::TestWithParam<const char*> {
 protected:
  MemoryTest() { free_bytes = kPlenty, copies = 0; }

  // Runs and returns the error, which must be about memory.
  template <typename Run>
  ErrorDetail refusal_of(Run run) const {
    try {
      run();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBufferAllocation) << error.what();
      return error.detail();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
  void expect_untouched() const {
    EXPECT_EQ(device.peak_allocated_bytes(), 0u);
    EXPECT_EQ(copies, 0);
  }

  const Device device = Device::open(GetParam(), {.num_threads = 1});
  const Checkpoint checkpoint = Checkpoint::open(kModel);
  const ModelOptions options{.max_context = 64, .prepare = false};
};

INSTANTIATE_TEST_SUITE_P(Devices, MemoryTest,
                         ::testing::Values("copying cuda", "copying metal", "small cpu"),
                         [](const auto& info) {
                           std::string name = info.param;
                           name[name.find(' ')] = '_';
                           return name;
                         });

TEST_P(MemoryTest, EstimatingTakesNoneOfTheDevice) {
  const ModelMemory memory = estimate_memory(device, checkpoint, {.max_context = 64});
  EXPECT_GT(memory.weights, 0u);
  EXPECT_GT(memory.caches, 0u);
  EXPECT_GT(memory.scratch, 0u);
  EXPECT_EQ(memory.prepared > 0, device.kind() != DeviceKind::kMetal);
  // Norms are widened, so that a few bytes are always the device's own.
  EXPECT_EQ(memory.mapped > 0, device.kind() == DeviceKind::kCpu);
  EXPECT_LT(memory.mapped, memory.weights);
  expect_untouched();
}

TEST_P(MemoryTest, RefusesALoadBeforeItBegins) {
  for (const bool prepare : {true, false}) {
    ModelOptions refused = options;
    refused.prepare = prepare;
    const ModelMemory memory = estimate_memory(device, checkpoint, refused);
    free_bytes = memory.needed() - 1;
    const ErrorDetail detail = refusal_of([&] { Model::load(device, checkpoint, refused); });
    EXPECT_EQ(detail.found, std::to_string(free_bytes) + " bytes free of " +
                                std::to_string(kPlenty) + " on " + device.name());
    std::ostringstream sum;
    sum << memory.needed() << " bytes: weights " << memory.weights - memory.mapped << " + repacked "
        << memory.prepared << " + caches " << memory.caches << " + scratch " << memory.scratch;
    EXPECT_TRUE(detail.required.starts_with(sum.str())) << detail.required;
    EXPECT_EQ(memory.needed(),
              memory.weights - memory.mapped + memory.prepared + memory.caches + memory.scratch);
    expect_untouched();
  }
}

TEST_P(MemoryTest, LoadsWhatJustFitsAfterARefusal) {
  const ModelMemory memory = estimate_memory(device, checkpoint, options);
  free_bytes = memory.needed() - 1;
  refusal_of([&] { Model::load(device, checkpoint, options); });
  free_bytes = memory.needed();
  const Model model = Model::load(device, checkpoint, options);
  const ModelMemory loaded = model.memory();
  EXPECT_EQ(loaded.weights, memory.weights);
  EXPECT_EQ(loaded.mapped, memory.mapped);
  EXPECT_EQ(loaded.total(), memory.total());
  EXPECT_GE(device.allocated_bytes(), memory.needed());
  EXPECT_EQ(copies > 0, device.kind() != DeviceKind::kCpu);

  // Caches beside the same weights.
  const size_t before = device.peak_allocated_bytes();
  free_bytes = memory.caches + memory.scratch - 1;
  refusal_of([&] { model.sharing_weights(options); });
  EXPECT_EQ(device.peak_allocated_bytes(), before);
  free_bytes = memory.caches + memory.scratch;
  EXPECT_EQ(model.sharing_weights(options).kv_bytes(), memory.caches);
}

TEST_P(MemoryTest, RefusesRandomWeightsWithoutRoomForTheirCaches) {
  const ModelMemory memory = estimate_memory(checkpoint.config(), options);
  free_bytes = memory.total() - 1;
  refusal_of([&] { Model::random(device, checkpoint.config(), 4, 32, options); });
  expect_untouched();
}

#if defined(__linux__)
// Bytes of the mapped files under a path that are in memory, from proc(5), /proc/pid/smaps.
size_t resident_bytes_of(const std::string& path) {
  std::ifstream file("/proc/self/smaps");
  size_t total = 0;
  bool is_ours = false;
  for (std::string line; std::getline(file, line);) {
    const bool is_header = line.find('-') < line.find(' ');
    if (is_header) is_ours = line.find(path) != std::string::npos;
    if (is_ours && line.starts_with("Rss:")) total += std::stoul(line.substr(4)) * 1024;
  }
  return total;
}

// A CPU copies what it repacks.
TEST_P(MemoryTest, LetsGoOfThePagesThatWereCopied) {
  ModelOptions copied = options;
  copied.prepare = device.kind() == DeviceKind::kCpu;
  const Model model = Model::load(device, checkpoint, copied);
  EXPECT_LT(resident_bytes_of(kModel), model.weight_bytes() / 4);
}
#endif

}  // namespace
}  // namespace mlxn
