// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/top_k/params.h"

namespace mlxn::kernels {

void top_k_avx512(StreamImpl& stream, const TopKParams& p, backends::Access access);
void top_k_avx2(StreamImpl& stream, const TopKParams& p, backends::Access access);
void top_k_baseline(StreamImpl& stream, const TopKParams& p, backends::Access access);

}  // namespace mlxn::kernels
