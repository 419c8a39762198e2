// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/moe_combine/params.h"

namespace mlxn::kernels {

void moe_combine_avx512(StreamImpl& stream, const MoeCombineParams& p, backends::Access access);
void moe_combine_avx2(StreamImpl& stream, const MoeCombineParams& p, backends::Access access);
void moe_combine_baseline(StreamImpl& stream, const MoeCombineParams& p, backends::Access access);

}  // namespace mlxn::kernels
