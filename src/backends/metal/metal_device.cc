// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/metal_device.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "backends/metal/metal_stream.h"

namespace mlxn::backends::metal {
namespace {

constexpr size_t kAbsentBytes = 16;

std::string name_of(MTL::Device& device) {
  const AutoreleaseScope scope;
  return to_text(device.name());
}

}  // namespace

MetalDevice::MetalDevice(NS::SharedPtr<MTL::Device> device, DeviceOptions options)
    : DeviceImpl(DeviceKind::kMetal, name_of(*device.get()), std::move(options)),
      device_(std::move(device)),
      absent_(NS::TransferPtr(device_->newBuffer(kAbsentBytes, MTL::ResourceStorageModeShared))),
      pipelines_(device_.get()),
      trace_(this->options()) {
  const AutoreleaseScope scope;
  absent_->setLabel(to_ns("absent operand"));
}

DeviceMemory memory_of(const MTL::Device& device) {
  const uint64_t total = device.recommendedMaxWorkingSetSize();
  return {total, total - std::min<uint64_t>(total, device.currentAllocatedSize())};
}

void MetalDevice::fail_out_of_memory(size_t byte_len) const {
  throw Error(ErrorKind::kBufferAllocation,
              ErrorDetail{"Device::alloc", "bytes", std::to_string(byte_len),
                          "at most the " + std::to_string(memory().free) + " free of " +
                              std::to_string(memory().total) + " bytes on " + name() + ", and " +
                              std::to_string(device_->maxBufferLength()) + " in one buffer"});
}

// Memory is the whole machine's: without this limit it would swap.
void MetalDevice::check_room(size_t byte_len) const {
  if (byte_len > device_->maxBufferLength() || byte_len > memory().free) {
    fail_out_of_memory(byte_len);
  }
}

std::shared_ptr<MetalAllocation> MetalDevice::new_allocation(NS::SharedPtr<MTL::Buffer> buffer,
                                                             size_t byte_len) const {
  auto allocation = std::make_shared<MetalAllocation>();
  allocation->data = static_cast<std::byte*>(buffer->contents());
  allocation->buffer = std::move(buffer);
  allocation->byte_len = byte_len;
  allocation->id = next_id();
  allocation->device_id = id();
  return allocation;
}

std::shared_ptr<Allocation> MetalDevice::allocate(size_t byte_len) {
  const AutoreleaseScope scope;
  check_room(byte_len);
  // Metal clears new buffers, and aligns them to pages.
  auto buffer = NS::TransferPtr(device_->newBuffer(byte_len, MTL::ResourceStorageModeShared));
  if (!buffer) fail_out_of_memory(byte_len);
  auto allocation = new_allocation(std::move(buffer), byte_len);
  count_allocation(byte_len);
  auto self = std::static_pointer_cast<MetalDevice>(shared_from_this());
  allocation->owner = std::shared_ptr<void>(
      allocation->data, [self = std::move(self), byte_len](void*) { self->count_free(byte_len); });
  return allocation;
}

std::shared_ptr<Allocation> MetalDevice::wrap(const void* data, size_t byte_len,
                                              std::shared_ptr<void> owner, bool writable) {
  const AutoreleaseScope scope;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = address / page * page;
  const uintptr_t end = (address + byte_len + page - 1) / page * page;
  auto buffer = NS::TransferPtr(device_->newBuffer(
      reinterpret_cast<const void*>(begin), end - begin, MTL::ResourceStorageModeShared, nullptr));
  if (buffer) {
    auto allocation = new_allocation(std::move(buffer), byte_len);
    allocation->offset = address - begin;
    allocation->data += allocation->offset;
    allocation->writable = writable;
    allocation->owner = std::move(owner);
    return allocation;
  }
  if (writable) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::wrap", "data", "memory that Metal does not map",
                            "memory of mmap or aligned_alloc, or writable = false for a copy"});
  }
  auto allocation = allocate(byte_len);
  std::memcpy(allocation->data, data, byte_len);
  allocation->writable = false;
  return allocation;
}

std::unique_ptr<StreamImpl> MetalDevice::create_stream(const Device& device) {
  return std::make_unique<MetalStream>(device, *this);
}

}  // namespace mlxn::backends::metal
