// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/moe_route/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> moe_route_gpu_refuses(const MoeRouteParams& p);
void moe_route_gpu(StreamImpl& stream, const MoeRouteParams& p, backends::Access access);

}  // namespace mlxn::kernels
