// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_check.h"

namespace mlxn::backends::cuda {

std::string to_text(cudaError_t status) {
  return std::string(cudaGetErrorName(status)) + " (" + cudaGetErrorString(status) + ")";
}

void fail(cudaError_t status, const std::string& where, const std::string& what) {
  cudaGetLastError();  // an error that does not stick to the device is forgotten
  throw Error(kind_of(status), ErrorDetail{where, what, to_text(status), ""});
}

}  // namespace mlxn::backends::cuda
