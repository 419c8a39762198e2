// SPDX-License-Identifier: Apache-2.0
#include "backends/metal/gpu_trace.h"

#include <utility>

#include "mlxn/error.h"

namespace mlxn::backends::metal {
namespace {

constexpr auto kDocument = MTL::CaptureDestinationGPUTraceDocument;

}  // namespace

GpuTrace::GpuTrace(const DeviceOptions& options)
    : path_(options.gpu_trace), commit_(options.gpu_trace_commit) {
  if (path_.empty()) return;
  const AutoreleaseScope scope;
  const auto fail = [this](const char* required) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Device::open", "gpu_trace", path_, required});
  };
  if (!path_.ends_with(".gputrace")) fail("a name that ends in .gputrace");
  if (!MTL::CaptureManager::sharedCaptureManager()->supportsDestination(kDocument)) {
    fail("a process with MTL_CAPTURE_ENABLED=1 in its environment");
  }
}

bool GpuTrace::begin(MTL::Device* device) {
  if (path_.empty() || commits_.fetch_add(1, std::memory_order_relaxed) != commit_) return false;
  const auto descriptor = NS::TransferPtr(MTL::CaptureDescriptor::alloc()->init());
  descriptor->setCaptureObject(reinterpret_cast<NS::Object*>(device));
  descriptor->setDestination(kDocument);
  descriptor->setOutputURL(NS::URL::fileURLWithPath(to_ns(path_)));
  NS::Error* error = nullptr;
  if (!MTL::CaptureManager::sharedCaptureManager()->startCapture(descriptor.get(), &error)) {
    throw Error(ErrorKind::kIo, ErrorDetail{path_, "gpu_trace", to_text(error), ""});
  }
  return true;
}

void GpuTrace::end() { MTL::CaptureManager::sharedCaptureManager()->stopCapture(); }

}  // namespace mlxn::backends::metal
