// SPDX-License-Identifier: Apache-2.0
// An Apple GPU as a device. Its memory is the host's: buffers are shared, and memory of the caller,
// mapped files above all, is used where it lies.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/metal/gpu_trace.h"
#include "backends/metal/metal_cpp.h"
#include "backends/metal/pipeline_cache.h"

namespace mlxn::backends::metal {

// What the GPU may use of the machine's memory without swapping.
DeviceMemory memory_of(const MTL::Device& device);

// What every allocation of this device is.
struct MetalAllocation final : Allocation {
  NS::SharedPtr<MTL::Buffer> buffer;
  size_t offset = 0;  // of `data` in the buffer, which covers whole pages of wrapped memory
};

class MetalDevice final : public DeviceImpl {
 public:
  MetalDevice(NS::SharedPtr<MTL::Device> device, DeviceOptions options);

  int num_threads() const override { return 1; }
  Isa isa() const override { return Isa::kBaseline; }
  DeviceMemory memory() const override { return memory_of(*device_.get()); }
  std::shared_ptr<Allocation> allocate(size_t byte_len) override;
  // Without a copy, unless Metal refuses the pages.
  std::shared_ptr<Allocation> wrap(const void* data, size_t byte_len, std::shared_ptr<void> owner,
                                   bool writable) override;
  std::unique_ptr<StreamImpl> create_stream(const Device& device) override;

  MTL::Device* metal() const { return device_.get(); }
  PipelineCache& pipelines() { return pipelines_; }
  GpuTrace& trace() { return trace_; }
  // What an absent operand is bound to: the validation layer wants a buffer everywhere.
  MTL::Buffer* absent() const { return absent_.get(); }

 private:
  std::shared_ptr<MetalAllocation> new_allocation(NS::SharedPtr<MTL::Buffer> buffer,
                                                  size_t byte_len) const;
  void check_room(size_t byte_len) const;
  [[noreturn]] void fail_out_of_memory(size_t byte_len) const;

  NS::SharedPtr<MTL::Device> device_;
  NS::SharedPtr<MTL::Buffer> absent_;
  PipelineCache pipelines_;
  GpuTrace trace_;
};

}  // namespace mlxn::backends::metal
