// SPDX-License-Identifier: Apache-2.0
// Kernels that a device has made ready to run, by name and specialisation.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace mlxn::backends {

// One per device. Safe to use from several threads: a kernel is made once, and whoever asks for it
// meanwhile waits; what stays in the cache keeps its address. A kernel that cannot be made leaves
// nothing behind. `spec` are the specialisation bits of a launch, 0 for the plain kernel.
template <typename Kernel>
class KernelCache {
 public:
  // The kernel, which `make` returns if the cache has none. What `make` throws is passed on.
  template <typename Make>
  const Kernel& get(const std::string& name, uint32_t spec, const Make& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Key key(name, spec);
    const auto found = kernels_.find(key);
    if (found != kernels_.end()) return found->second;
    return kernels_.emplace(key, make()).first->second;
  }
  bool is_cached(const std::string& name, uint32_t spec = 0) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return kernels_.contains(Key(name, spec));
  }
  size_t cached_count() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return kernels_.size();
  }
  // Drops every specialisation of a kernel whose source has been replaced. No work may refer to it.
  void invalidate(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    kernels_.erase(kernels_.lower_bound(Key(name, 0)), kernels_.upper_bound(Key(name, UINT32_MAX)));
  }

 private:
  using Key = std::pair<std::string, uint32_t>;
  mutable std::mutex mutex_;
  std::map<Key, Kernel> kernels_;
};

}  // namespace mlxn::backends
