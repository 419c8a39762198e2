// SPDX-License-Identifier: Apache-2.0
// An NVIDIA GPU as a device.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <string>

#include "backends/backend.h"
#include "backends/cuda/cuda_check.h"
#include "backends/cuda/memory_cache.h"
#include "backends/gpu.h"
#include "backends/kernel_cache.h"

namespace mlxn::backends::cuda {

// A kernel that is loaded on this device.
struct Kernel {
  const char* name;
  const void* entry;
  size_t max_dynamic_shared;  // bytes that a launch may ask for
  uint32_t max_threads;       // of a group: its registers allow no more
  bool awaits;                // await_inputs() waits: compiled for compute capability 9.0 or later
};

class CudaDevice final : public DeviceImpl {
 public:
  CudaDevice(int index, const cudaDeviceProp& properties, DeviceOptions options);
  ~CudaDevice() override;

  int num_threads() const override { return 1; }
  Isa isa() const override { return Isa::kBaseline; }
  DeviceMemory memory() const override;
  bool host_visible() const override { return options().unified_memory; }
  std::shared_ptr<Allocation> allocate(size_t byte_len) override;
  std::shared_ptr<Allocation> wrap(const void* data, size_t byte_len, std::shared_ptr<void> owner,
                                   bool writable) override;
  std::shared_ptr<Allocation> adopt(void* data, size_t byte_len,
                                    std::shared_ptr<void> owner) override;
  void copy_in(void* device, const void* host, size_t byte_len) override;
  void copy_out(void* host, const void* device, size_t byte_len) override;
  std::unique_ptr<StreamImpl> create_stream(const Device& device) override;
  std::unique_ptr<StreamImpl> create_stream_on(const Device& device, void* native) override;

  int index() const override { return index_; }
  const GpuLimits& limits() const { return limits_; }
  // Page-locked host memory, which the GPU copies from and to on its own.
  MemoryCache& staging() { return staging_; }
  // The kernel of the launch, loaded. Throws kKernelNotFound, and kKernelCompilation if the driver
  // does not load it.
  const Kernel& kernel(const GpuLaunch& launch);

 private:
  std::shared_ptr<Allocation> allocate_block(size_t byte_len);
  Kernel load_kernel(const GpuLaunch& launch) const;
  [[noreturn]] void fail_out_of_memory(size_t byte_len);

  int index_;
  GpuLimits limits_;
  size_t total_memory_;
  MemoryCache memory_;
  MemoryCache staging_;
  std::mutex copy_mutex_;
  cudaStream_t copies_ = nullptr;  // for zero fills and copies that the caller waits for
  KernelCache<Kernel> kernels_;
};

}  // namespace mlxn::backends::cuda
