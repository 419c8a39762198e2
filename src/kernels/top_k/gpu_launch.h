// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/top_k/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> top_k_gpu_refuses(const TopKParams& p);
void top_k_gpu(StreamImpl& stream, const TopKParams& p, backends::Access access);

}  // namespace mlxn::kernels
