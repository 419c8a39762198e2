// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/elementwise/params.h"

namespace mlxn::kernels {

void elementwise_avx512(StreamImpl& stream, const ElementwiseParams& p, backends::Access access);
void elementwise_avx2(StreamImpl& stream, const ElementwiseParams& p, backends::Access access);
void elementwise_baseline(StreamImpl& stream, const ElementwiseParams& p, backends::Access access);

}  // namespace mlxn::kernels
