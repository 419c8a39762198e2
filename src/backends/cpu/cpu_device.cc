// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/cpu_device.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "backends/cpu/cpu_stream.h"
#include "base/system_memory.h"

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

// Large buffers start at a huge page: a model's weights then take 512 times fewer entries of the
// translation cache, and page faults. The system zeroes them when they are first touched, by the
// threads that fill them.
constexpr size_t kHugePage = size_t{2} << 20;

// Zero-filled, or null.
std::shared_ptr<void> map_memory(size_t byte_len) {
  const size_t reserved = byte_len + kHugePage;
  if (reserved < byte_len) return nullptr;
  void* const start =
      ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  const std::shared_ptr<void> owner(start, [reserved](void* p) { ::munmap(p, reserved); });
  const auto address = (reinterpret_cast<uintptr_t>(start) + kHugePage - 1) / kHugePage * kHugePage;
  void* const aligned = reinterpret_cast<void*>(address);
#if defined(MADV_HUGEPAGE)
  ::madvise(aligned, byte_len, MADV_HUGEPAGE);  // advice: where it is refused, small pages serve
#endif
  return {owner, aligned};
}

// Zero-filled, or null.
std::shared_ptr<void> heap_memory(size_t byte_len) {
  void* const memory = std::aligned_alloc(kAlignment, byte_len);
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0, byte_len);
  return {memory, [](void* p) { std::free(p); }};
}

#if defined(__x86_64__)
// clang 14 does not know this feature by name.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

Isa detect_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
                    __builtin_cpu_supports("bmi2");
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
#if defined(__APPLE__)
  char name[256];
  size_t size = sizeof(name);
  if (::sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "cpu";
}

DeviceMemory cpu_memory() {
  const base::SystemMemory memory = base::system_memory();
  return {memory.total, memory.available};
}

CpuDevice::CpuDevice(DeviceOptions options)
    : CpuDevice(DeviceKind::kCpu, cpu_model_name(), options) {}

CpuDevice::CpuDevice(DeviceKind kind, std::string name, const DeviceOptions& options)
    : DeviceImpl(kind, std::move(name), options),
      isa_(std::min(detect_isa(), options.max_isa)),
      pool_(thread_count(options)) {}

std::shared_ptr<Allocation> CpuDevice::allocate(size_t byte_len) {
  const size_t rounded = (byte_len + kAlignment - 1) / kAlignment * kAlignment;
  std::shared_ptr<void> memory;
  if (rounded >= byte_len) {
    memory = rounded >= kHugePage ? map_memory(rounded) : heap_memory(rounded);
  }
  if (memory == nullptr) {
    throw Error(ErrorKind::kBufferAllocation,
                ErrorDetail{"Device::alloc", "bytes", std::to_string(byte_len), "free memory"});
  }
  auto allocation = std::make_shared<Allocation>();
  allocation->data = static_cast<std::byte*>(memory.get());
  allocation->byte_len = byte_len;
  allocation->id = next_id();
  allocation->device_id = id();
  allocation->host_visible = host_visible();
  count_allocation(rounded);  // the owner takes it back, also if it cannot be made
  allocation->owner = std::shared_ptr<void>(
      memory.get(), [memory, self = std::static_pointer_cast<CpuDevice>(shared_from_this()),
                     rounded](void*) { self->count_free(rounded); });
  return allocation;
}

std::unique_ptr<StreamImpl> CpuDevice::create_stream(const Device& device) {
  return std::make_unique<CpuStream>(device, *this);
}

}  // namespace mlxn::backends::cpu
