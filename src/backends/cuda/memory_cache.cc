// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/memory_cache.h"

#include <algorithm>
#include <bit>

#include "backends/cuda/cuda_check.h"

namespace mlxn::backends::cuda {
namespace {

constexpr size_t kSmallest = 512;
constexpr size_t kSmall = size_t{1} << 20;
constexpr size_t kPage = size_t{2} << 20;  // what the driver maps

}  // namespace

size_t MemoryCache::block_bytes(size_t byte_len) const {
  if (!keep_) return byte_len;
  if (byte_len <= kSmall) return std::max(kSmallest, std::bit_ceil(byte_len));
  if (byte_len > SIZE_MAX - kPage) return 0;
  return (byte_len + kPage - 1) / kPage * kPage;
}

void* MemoryCache::take(size_t byte_len) {
  const size_t bytes = block_bytes(byte_len);
  if (bytes == 0) return nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = kept_.find(bytes);
    if (found != kept_.end() && !found->second.empty()) {
      void* const block = found->second.back();
      found->second.pop_back();
      return block;
    }
  }
  void* block = nullptr;
  cudaError_t status = allocate_(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    clear();
    status = allocate_(&block, bytes);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "Device::alloc", "memory");
  return block;
}

void MemoryCache::give_back(void* block, size_t byte_len) {
  if (keep_) {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_[block_bytes(byte_len)].push_back(block);
  } else {
    free_(block);
  }
}

void MemoryCache::clear() {
  std::map<size_t, std::vector<void*>> kept;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept.swap(kept_);
  }
  // A failure here says that the process is ending, or that work failed earlier, which its stream
  // reports.
  for (const auto& [bytes, blocks] : kept) {
    for (void* const block : blocks) free_(block);
  }
}

size_t MemoryCache::kept_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t total = 0;
  for (const auto& [bytes, blocks] : kept_) total += bytes * blocks.size();
  return total;
}

}  // namespace mlxn::backends::cuda
