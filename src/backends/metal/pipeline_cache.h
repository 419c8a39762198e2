// SPDX-License-Identifier: Apache-2.0
// Kernels of one device, compiled when they are first asked for.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#include "backends/gpu.h"
#include "backends/metal/kernel_source.h"
#include "backends/metal/metal_cpp.h"

namespace mlxn::backends::metal {

// A kernel with its specialisation constants fixed.
struct Pipeline {
  std::string kernel;
  NS::SharedPtr<MTL::ComputePipelineState> state;
  uint32_t max_threads;             // of a threadgroup: its registers allow no more
  size_t static_threadgroup_bytes;  // of its SHARED arrays
};

class PipelineCache {
 public:
  explicit PipelineCache(MTL::Device* device);

  // The pipeline of the launch's kernel and constants, the same object each time. Throws
  // kKernelNotFound for an unknown name, kKernelCompilation with the compiler's text. A module's
  // text is compiled once, however many kernels are in it. May be called from several threads.
  const Pipeline& get(const GpuLaunch& launch);
  size_t pipeline_count() const;
  size_t module_count() const;

 private:
  // threads: 0, or how many a threadgroup must be able to have.
  const Pipeline& find_or_build(const GpuLaunch& launch, uint32_t threads);
  MTL::Library* library(const KernelSource& source, const char* op);
  NS::SharedPtr<MTL::Function> function(const GpuLaunch& launch);
  Pipeline build(const GpuLaunch& launch, uint32_t threads);

  MTL::Device* device_;
  std::unordered_map<std::string, const KernelSource*> sources_;  // by kernel
  mutable std::mutex mutex_;
  std::map<const KernelSource*, NS::SharedPtr<MTL::Library>> libraries_;
  std::unordered_map<std::string, Pipeline> pipelines_;  // by name, constants, threads
};

}  // namespace mlxn::backends::metal
