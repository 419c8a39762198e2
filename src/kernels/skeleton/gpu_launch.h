// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/skeleton/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> axpy_gpu_refuses(const AxpyParams& p);
void axpy_gpu(StreamImpl& stream, const AxpyParams& p, backends::Access access);

}  // namespace mlxn::kernels
