// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/matmul/gpu_args.h"
#include "kernels/matmul/params.h"

namespace mlxn::kernels {

inline GpuMatmulType matmul_type(DType dtype) {
  return dtype == DType::kF16    ? kGpuMatmulF16
         : dtype == DType::kBF16 ? kGpuMatmulBF16
                                 : kGpuMatmulF32;
}

std::optional<std::string_view> matmul_gpu_refuses(const MatmulParams& p);
void matmul_gpu(StreamImpl& stream, const MatmulParams& p, backends::Access access);

}  // namespace mlxn::kernels
