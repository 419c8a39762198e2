// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rms_norm/params.h"

namespace mlxn::kernels {

void rms_norm_avx512(StreamImpl& stream, const RmsNormParams& p, backends::Access access);
void rms_norm_avx2(StreamImpl& stream, const RmsNormParams& p, backends::Access access);
void rms_norm_baseline(StreamImpl& stream, const RmsNormParams& p, backends::Access access);

}  // namespace mlxn::kernels
