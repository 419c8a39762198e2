// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/moe_combine/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> moe_combine_gpu_refuses(const MoeCombineParams& p);
void moe_combine_gpu(StreamImpl& stream, const MoeCombineParams& p, backends::Access access);

}  // namespace mlxn::kernels
