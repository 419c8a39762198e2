// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/argmax/params.h"

namespace mlxn::kernels {

void argmax_avx512(StreamImpl& stream, const ArgmaxParams& p, backends::Access access);
void argmax_avx2(StreamImpl& stream, const ArgmaxParams& p, backends::Access access);
void argmax_baseline(StreamImpl& stream, const ArgmaxParams& p, backends::Access access);

}  // namespace mlxn::kernels
