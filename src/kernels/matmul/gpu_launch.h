// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/matmul/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> matmul_gpu_refuses(const MatmulParams& p);
void matmul_gpu(StreamImpl& stream, const MatmulParams& p, backends::Access access);

}  // namespace mlxn::kernels
