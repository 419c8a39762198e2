// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/moe_route/params.h"

namespace mlxn::kernels {

void moe_route_avx512(StreamImpl& stream, const MoeRouteParams& p, backends::Access access);
void moe_route_avx2(StreamImpl& stream, const MoeRouteParams& p, backends::Access access);
void moe_route_baseline(StreamImpl& stream, const MoeRouteParams& p, backends::Access access);

}  // namespace mlxn::kernels
