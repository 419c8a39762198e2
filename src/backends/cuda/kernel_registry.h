// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of this build, by name. The dialect's INSTANTIATE fills the list while static
// objects are constructed; host code reads it.
#pragma once

namespace mlxn {
namespace backends {
namespace cuda {

struct KernelRegistration {
  const char* name;   // "rms_norm_f16_f32"
  unsigned spec;      // the specialisation bits this entry was compiled for
  const void* entry;  // for cudaLaunchKernel
  const KernelRegistration* next;

  KernelRegistration(const char* kernel, unsigned bits, const void* function)
      : name(kernel), spec(bits), entry(function), next(head()) {
    head() = this;
  }
  static const KernelRegistration*& head() {
    static const KernelRegistration* first = nullptr;
    return first;
  }
};

}  // namespace cuda
}  // namespace backends
}  // namespace mlxn
