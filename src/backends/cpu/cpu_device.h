// SPDX-License-Identifier: Apache-2.0
// The CPU as a device: host memory, one thread pool.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "base/thread_pool.h"

namespace mlxn::backends::cpu {

// The best instruction set of this machine that the library has kernels for.
Isa detect_isa();
// "AMD EPYC ..." or "cpu".
std::string cpu_model_name();
DeviceMemory cpu_memory();

class CpuDevice : public DeviceImpl {
 public:
  explicit CpuDevice(DeviceOptions options);

  int num_threads() const override { return pool_.num_threads(); }
  Isa isa() const override { return isa_; }
  DeviceMemory memory() const override { return cpu_memory(); }
  std::shared_ptr<Allocation> allocate(size_t byte_len) override;
  std::unique_ptr<StreamImpl> create_stream(const Device& device) override;

  base::ThreadPool& pool() { return pool_; }

 protected:
  // A device of another kind on the CPU's memory and threads.
  CpuDevice(DeviceKind kind, std::string name, const DeviceOptions& options);

 private:
  Isa isa_;
  base::ThreadPool pool_;
};

}  // namespace mlxn::backends::cpu
