// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/pipeline_cache.h"

#include <utility>

namespace mlxn::backends::metal {
namespace {

constexpr NS::UInteger kSpecConstants = 3;  // of one folder, as INSTANTIATE_SPEC counts them
constexpr NS::UInteger kSimd = 32;
constexpr uint32_t kMaxThreads = 1024;  // of a threadgroup, in the dialect

[[noreturn]] void fail(const GpuLaunch& launch, const std::string& what, std::string found) {
  throw Error(ErrorKind::kKernelCompilation,
              ErrorDetail{launch.op, what, std::move(found), "what this GPU's compiler takes"});
}

// Program-scope constants are the kernel's only if all of them have values.
NS::SharedPtr<MTL::FunctionConstantValues> constants_of(uint32_t spec) {
  auto values = NS::TransferPtr(MTL::FunctionConstantValues::alloc()->init());
  for (NS::UInteger i = 0; i < kSpecConstants; ++i) {
    const bool on = (spec >> i & 1) != 0;
    values->setConstantValue(&on, MTL::DataTypeBool, i);
  }
  return values;
}

}  // namespace

const KernelSource*& KernelSource::head() {
  static const KernelSource* first = nullptr;
  return first;
}

PipelineCache::PipelineCache(MTL::Device* device) : device_(device) {
  if (kLinkedSources[0] == nullptr) return;
  for (const KernelSource* source = KernelSource::head(); source != nullptr;
       source = source->next) {
    for (const char* const* name = source->kernels; *name != nullptr; ++name) {
      sources_.emplace(*name, source);
    }
  }
}

const Pipeline& PipelineCache::get(const GpuLaunch& launch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Pipeline& pipeline = find_or_build(launch, 0);
  if (launch.threads <= pipeline.max_threads || launch.threads > kMaxThreads) return pipeline;
  // The compiler gave the kernel more registers than so many threads have.
  return find_or_build(launch, launch.threads);
}

const Pipeline& PipelineCache::find_or_build(const GpuLaunch& launch, uint32_t threads) {
  std::string key =
      launch.kernel + '#' + std::to_string(launch.spec) + '#' + std::to_string(threads);
  const auto found = pipelines_.find(key);
  if (found != pipelines_.end()) return found->second;
  return pipelines_.emplace(std::move(key), build(launch, threads)).first->second;
}

MTL::Library* PipelineCache::library(const KernelSource& source, const char* op) {
  const auto found = libraries_.find(&source);
  if (found != libraries_.end()) return found->second.get();
  const auto options = NS::TransferPtr(MTL::CompileOptions::alloc()->init());
  options->setLanguageVersion(MTL::LanguageVersion3_1);  // bfloat
  options->setFastMathEnabled(false);
  NS::Error* error = nullptr;
  auto library = NS::TransferPtr(device_->newLibrary(to_ns(source.text), options.get(), &error));
  if (!library) {
    throw Error(ErrorKind::kKernelCompilation,
                ErrorDetail{op, "Metal source of " + std::string(source.module), to_text(error),
                            "what this GPU's compiler takes"});
  }
  return libraries_.emplace(&source, std::move(library)).first->second.get();
}

NS::SharedPtr<MTL::Function> PipelineCache::function(const GpuLaunch& launch) {
  const auto found = sources_.find(launch.kernel);
  if (found == sources_.end()) {
    throw Error(ErrorKind::kKernelNotFound,
                ErrorDetail{launch.op, "kernel", launch.kernel, "a kernel of this build"});
  }
  NS::Error* error = nullptr;
  MTL::Library* const from = library(*found->second, launch.op);
  auto result = NS::TransferPtr(
      from->newFunction(to_ns(launch.kernel), constants_of(launch.spec).get(), &error));
  if (!result) fail(launch, "kernel " + launch.kernel, to_text(error));
  return result;
}

Pipeline PipelineCache::build(const GpuLaunch& launch, uint32_t threads) {
  const AutoreleaseScope scope;
  const auto descriptor = NS::TransferPtr(MTL::ComputePipelineDescriptor::alloc()->init());
  descriptor->setComputeFunction(function(launch).get());
  descriptor->setLabel(to_ns(launch.kernel));
  if (threads != 0) descriptor->setMaxTotalThreadsPerThreadgroup(threads);
  NS::Error* error = nullptr;
  auto state = NS::TransferPtr(
      device_->newComputePipelineState(descriptor.get(), MTL::PipelineOptionNone, nullptr, &error));
  if (!state) fail(launch, "pipeline of " + launch.kernel, to_text(error));
  if (const NS::UInteger width = state->threadExecutionWidth(); width != kSimd) {
    fail(launch, "simdgroups of " + launch.kernel, std::to_string(width) + " threads");
  }
  return {launch.kernel, state, static_cast<uint32_t>(state->maxTotalThreadsPerThreadgroup()),
          state->staticThreadgroupMemoryLength()};
}

size_t PipelineCache::pipeline_count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return pipelines_.size();
}

size_t PipelineCache::module_count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return libraries_.size();
}

}  // namespace mlxn::backends::metal
