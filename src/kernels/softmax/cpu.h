// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/softmax/params.h"

namespace mlxn::kernels {

void softmax_avx512(StreamImpl& stream, const SoftmaxParams& p, backends::Access access);
void softmax_avx2(StreamImpl& stream, const SoftmaxParams& p, backends::Access access);
void softmax_baseline(StreamImpl& stream, const SoftmaxParams& p, backends::Access access);

}  // namespace mlxn::kernels
