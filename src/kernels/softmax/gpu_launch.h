// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/softmax/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> softmax_gpu_refuses(const SoftmaxParams& p);
void softmax_gpu(StreamImpl& stream, const SoftmaxParams& p, backends::Access access);

}  // namespace mlxn::kernels
