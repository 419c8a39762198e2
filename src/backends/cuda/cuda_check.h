// SPDX-License-Identifier: Apache-2.0
// CUDA's status codes as errors of the library, and the device that calls are about.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "mlxn/error.h"

namespace mlxn::backends::cuda {

// "cudaErrorNoDevice (no CUDA-capable device is detected)".
std::string to_text(cudaError_t status);

// kBufferAllocation for memory that is used up, that of events and graphs too; kKernelCompilation
// where kernels of this build are not for the GPU, or its driver cannot compile their PTX;
// kCommandBuffer otherwise.
constexpr ErrorKind kind_of(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return ErrorKind::kBufferAllocation;
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidKernelImage:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidPtx:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilationDisabled:
    case cudaErrorInvalidSource:
    case cudaErrorSharedObjectSymbolNotFound:
    case cudaErrorSharedObjectInitFailed:
    case cudaErrorSymbolNotFound:
      return ErrorKind::kKernelCompilation;
    default:
      return ErrorKind::kCommandBuffer;
  }
}

// Throws an error of kind_of(status).
[[noreturn]] void fail(cudaError_t status, const std::string& where, const std::string& what);

// "where: what: found cudaError... (...)".
inline void check(cudaError_t status, const char* where, const char* what) {
  if (status != cudaSuccess) fail(status, where, what);
}

// Makes a GPU the current one of this thread, to which most CUDA calls refer, and puts back what
// was current. Meanwhile a capture by another library does not forbid this thread to allocate or to
// ask for the state of other streams.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    cudaThreadExchangeStreamCaptureMode(&mode_);
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = index;
    if (before_ != index) check(cudaSetDevice(index), "Device", "cudaSetDevice");
    changed_ = before_ != index;
  }
  ~CurrentDevice() {
    if (changed_) cudaSetDevice(before_);
    cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace mlxn::backends::cuda
