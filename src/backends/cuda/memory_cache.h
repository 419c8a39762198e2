// SPDX-License-Identifier: Apache-2.0
// Memory from the CUDA runtime, which takes long to give and to take back, kept for the next
// request of the same size class.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace mlxn::backends::cuda {

class MemoryCache {
 public:
  using Allocate = cudaError_t (*)(void** address, size_t byte_len);
  using Free = cudaError_t (*)(void* address);

  // keep: whether returned blocks are kept.
  MemoryCache(Allocate allocate, Free free, bool keep)
      : allocate_(allocate), free_(free), keep_(keep) {}
  ~MemoryCache() { clear(); }
  MemoryCache(const MemoryCache&) = delete;
  MemoryCache& operator=(const MemoryCache&) = delete;

  // The bytes that a block for byte_len bytes really has: a power of two up to 1 MiB, multiples of
  // 2 MiB above; byte_len itself if nothing is kept, so that compute-sanitizer sees every overrun.
  // 0 if that overflows.
  size_t block_bytes(size_t byte_len) const;

  // A block of block_bytes(byte_len), not cleared. If the device has no more memory, kept blocks
  // are given back to it first; null if that does not help.
  void* take(size_t byte_len);
  // `block` was taken for byte_len, and no work uses it any more.
  void give_back(void* block, size_t byte_len);
  // Gives all kept blocks back to the device.
  void clear();
  size_t kept_bytes() const;

 private:
  Allocate allocate_;
  Free free_;
  bool keep_;
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> kept_;  // by block bytes
};

}  // namespace mlxn::backends::cuda
