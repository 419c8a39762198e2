// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/argmax/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> argmax_gpu_refuses(const ArgmaxParams& p);
void argmax_gpu(StreamImpl& stream, const ArgmaxParams& p, backends::Access access);

}  // namespace mlxn::kernels
