// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_devices.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "backends/cuda/cuda_check.h"
#include "backends/cuda/cuda_device.h"

namespace mlxn::backends::cuda {
namespace {

constexpr int kOldestMajor = 8;  // sm_80: bf16, and kernels are built from there on

// Why no GPU can be used at all, and how many there are if there is no reason.
std::string count_devices(int* count) {
  const cudaError_t status = cudaGetDeviceCount(count);
  if (status == cudaSuccess && *count > 0) return {};
  cudaGetLastError();
  *count = 0;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "no NVIDIA driver";
  if (status == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver serves CUDA {}.{}, this build needs {}.{}", driver / 1000,
                       driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  return status == cudaSuccess ? "no NVIDIA GPU" : "no NVIDIA GPU: " + to_text(status);
}

std::string refusal_of(const cudaDeviceProp& properties) {
  if (properties.major >= kOldestMajor) return {};
  return fmt::format("compute capability {}.{}, at least {}.0 is needed", properties.major,
                     properties.minor, kOldestMajor);
}

// The kernel module's version: the first number with a dot in "NVRM version: ... 580.82.07 ...".
std::string module_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const bool is_number = word[0] >= '0' && word[0] <= '9';
    if (is_number && word.find('.') != std::string::npos) return word;
  }
  return {};
}

std::string driver_text() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const std::string module = module_version();
  return fmt::format("{}{}CUDA {}.{}", module, module.empty() ? "" : ", ", driver / 1000,
                     driver % 1000 / 10);
}

// Zeros if the GPU cannot be used.
DeviceMemory memory_of(int index) {
  size_t free = 0, total = 0;
  int before = 0;
  cudaGetDevice(&before);
  const bool is_known =
      cudaSetDevice(index) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess;
  cudaSetDevice(before);
  cudaGetLastError();
  return is_known ? DeviceMemory{total, free} : DeviceMemory{};
}

DeviceInfo describe(int index) {
  DeviceInfo info{"cuda:" + std::to_string(index), "NVIDIA GPU", DeviceKind::kCuda, false, ""};
  cudaDeviceProp properties = {};
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, index);
      status != cudaSuccess) {
    cudaGetLastError();
    info.reason = to_text(status);
    return info;
  }
  info.description = fmt::format("{}, compute capability {}.{}", properties.name, properties.major,
                                 properties.minor);
  info.memory = memory_of(index);
  info.driver = driver_text();
  info.reason = refusal_of(properties);
  info.available = info.reason.empty();
  return info;
}

[[noreturn]] void not_found(std::string_view id, std::string required) {
  throw Error(ErrorKind::kDeviceNotFound,
              ErrorDetail{"Device::open", "id", std::string(id), std::move(required)});
}

// "cuda" -> 0, "cuda:3" -> 3.
int index_of(std::string_view id, int count) {
  int index = 0;
  if (const size_t colon = id.find(':'); colon != std::string_view::npos) {
    const char* const begin = id.data() + colon + 1;
    const char* const end = id.data() + id.size();
    const auto [stop, error] = std::from_chars(begin, end, index);
    if (error != std::errc() || stop != end || begin == end) index = -1;
  }
  if (index < 0 || index >= count) {
    not_found(id, count == 1 ? "cuda:0" : "cuda:0 to cuda:" + std::to_string(count - 1));
  }
  return index;
}

}  // namespace

std::vector<DeviceInfo> list_devices() {
  int count = 0;
  const std::string reason = count_devices(&count);
  if (!reason.empty()) return {{"cuda", "NVIDIA GPU", DeviceKind::kCuda, false, reason}};
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) devices.push_back(describe(i));
  return devices;
}

std::shared_ptr<DeviceImpl> open_device(std::string_view id, DeviceOptions options) {
  int count = 0;
  const std::string reason = count_devices(&count);
  if (!reason.empty()) not_found(id, "another device: " + reason);
  const int index = index_of(id, count);
  cudaDeviceProp properties = {};
  check(cudaGetDeviceProperties(&properties, index), "Device::open", "cudaGetDeviceProperties");
  if (const std::string refusal = refusal_of(properties); !refusal.empty()) {
    not_found(id, "another device: " + refusal);
  }
  if (options.unified_memory && properties.concurrentManagedAccess == 0) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::open", "unified_memory", "true",
                            "false: this GPU and the host cannot share pages"});
  }
  return std::make_shared<CudaDevice>(index, properties, std::move(options));
}

}  // namespace mlxn::backends::cuda
