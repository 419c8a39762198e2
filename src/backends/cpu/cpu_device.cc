// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/cpu_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "backends/cpu/cpu_stream.h"

namespace mlxn::backends::cpu {
namespace {

constexpr size_t kAlignment = 64;  // one cache line, one AVX-512 vector
constexpr int kMaxThreads = 1024;

int thread_count(const DeviceOptions& options) {
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::open", "num_threads", std::to_string(options.num_threads),
                            "0 (all cores) to " + std::to_string(kMaxThreads)});
  }
  return options.num_threads > 0 ? options.num_threads : base::available_cores();
}

}  // namespace

Isa detect_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
  if (avx512 && __builtin_cpu_supports("avx512vnni")) return Isa::kAvx512Vnni;
  if (avx512) return Isa::kAvx512;
  if (avx2) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

std::string cpu_model_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "cpu";
}

CpuDevice::CpuDevice(DeviceOptions options)
    : DeviceImpl(DeviceKind::kCpu, cpu_model_name(), options),
      isa_(std::min(detect_isa(), options.max_isa)),
      pool_(thread_count(options)) {}

std::shared_ptr<Allocation> CpuDevice::allocate(size_t byte_len) {
  const size_t rounded = (byte_len + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = rounded >= byte_len ? std::aligned_alloc(kAlignment, rounded) : nullptr;
  if (memory == nullptr) {
    throw Error(ErrorKind::kBufferAllocation,
                ErrorDetail{"Device::alloc", "bytes", std::to_string(byte_len), "free memory"});
  }
  std::memset(memory, 0, rounded);
  count_allocation(rounded);
  auto allocation = std::make_shared<Allocation>();
  allocation->data = static_cast<std::byte*>(memory);
  allocation->byte_len = byte_len;
  allocation->id = next_id();
  allocation->device_id = id();
  allocation->owner = std::shared_ptr<void>(
      memory, [self = std::static_pointer_cast<CpuDevice>(shared_from_this()), rounded](void* p) {
        std::free(p);
        self->count_free(rounded);
      });
  return allocation;
}

std::unique_ptr<StreamImpl> CpuDevice::create_stream(const Device& device) {
  return std::make_unique<CpuStream>(device, *this);
}

}  // namespace mlxn::backends::cpu
