// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/elementwise/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> elementwise_gpu_refuses(const ElementwiseParams& p);
void elementwise_gpu(StreamImpl& stream, const ElementwiseParams& p, backends::Access access);

}  // namespace mlxn::kernels
