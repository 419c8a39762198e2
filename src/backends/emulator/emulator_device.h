// SPDX-License-Identifier: Apache-2.0
// The emulator as a device, for tests: host memory as on the CPU, kernels of the dialect through
// the emulator with every detector on. DeviceOptions::num_threads picks the order in which GPU
// threads run: 0 and 1 in order, n > 1 the random order of seed n. Without
// DeviceOptions::unified_memory buffers say that the host may not touch them, as those of a GPU do.
#pragma once

#include <memory>

#include "backends/cpu/cpu_stream.h"
#include "backends/gpu.h"

namespace mlxn::backends::emulator {

class EmulatorDevice final : public cpu::CpuDevice {
 public:
  explicit EmulatorDevice(const DeviceOptions& options);

  bool host_visible() const override { return options().unified_memory; }
  std::shared_ptr<Allocation> wrap(const void* data, size_t byte_len, std::shared_ptr<void> owner,
                                   bool writable) override;
  std::unique_ptr<StreamImpl> create_stream(const Device& device) override;
  uint32_t schedule() const { return schedule_; }

 private:
  uint32_t schedule_;
};

// Recording, hazards, graphs and profiles are those of the CPU; a launch is one task.
class EmulatorStream final : public cpu::CpuStream, public GpuStream {
 public:
  EmulatorStream(const Device& device, EmulatorDevice& emulator);

  void launch(GpuLaunch launch, Access access) override;

 private:
  uint32_t schedule_;
};

}  // namespace mlxn::backends::emulator
