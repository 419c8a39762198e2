// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "base/no_memory.h"
#include "mlxn/device.h"

namespace mlxn {

struct BufferPool::Impl {
  explicit Impl(Device d) : device(std::move(d)) {}

  using AllocationPtr = std::shared_ptr<Allocation>;
  Device device;
  mutable std::mutex mutex;
  std::vector<AllocationPtr> in_use;
  std::map<size_t, std::vector<AllocationPtr>> free;  // by size class

  // A released allocation of this class that nobody refers to any more, or null.
  AllocationPtr take_free(size_t size_class) {
    const auto found = free.find(size_class);
    if (found == free.end()) return nullptr;
    auto& list = found->second;
    const auto idle = std::find_if(list.begin(), list.end(),
                                   [](const AllocationPtr& a) { return a.use_count() == 1; });
    if (idle == list.end()) return nullptr;
    AllocationPtr taken = std::move(*idle);
    list.erase(idle);
    return taken;
  }
};

BufferPool::BufferPool(Device device) try : impl_(std::make_unique<Impl>(std::move(device))) {
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}
BufferPool::~BufferPool() = default;

Buffer BufferPool::alloc(DType dtype, const Shape& shape) try {
  const size_t byte_len = backends::checked_byte_len(dtype, shape, "BufferPool::alloc");
  const size_t size_class = std::bit_ceil(byte_len);
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  auto allocation = impl_->take_free(size_class);
  if (!allocation) allocation = impl_->device.impl()->allocate(size_class);
  impl_->in_use.push_back(allocation);
  return Buffer(std::move(allocation), 0, byte_len, dtype, shape);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void BufferPool::release(const Buffer& buffer) try {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  const auto found = std::find(impl_->in_use.begin(), impl_->in_use.end(), buffer.allocation());
  if (!buffer || found == impl_->in_use.end()) {
    throw Error(ErrorKind::kInvalidArgument, ErrorDetail{"BufferPool::release", "buffer",
                                                         "a buffer this pool has not handed out",
                                                         "a buffer of this pool, released once"});
  }
  impl_->free[(*found)->byte_len].push_back(*found);
  impl_->in_use.erase(found);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void BufferPool::reset() try {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  // One by one, so that each is in one list if there is no memory for the next.
  for (auto& in_use = impl_->in_use; !in_use.empty(); in_use.pop_back()) {
    impl_->free[in_use.back()->byte_len].push_back(in_use.back());
  }
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void BufferPool::clear() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->free.clear();
}

size_t BufferPool::free_count() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  size_t count = 0;
  for (const auto& [size_class, list] : impl_->free) count += list.size();
  return count;
}

size_t BufferPool::free_bytes() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  size_t bytes = 0;
  for (const auto& [size_class, list] : impl_->free) bytes += size_class * list.size();
  return bytes;
}

size_t BufferPool::in_use_count() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->in_use.size();
}

}  // namespace mlxn
