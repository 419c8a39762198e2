// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/glu/params.h"

namespace mlxn::kernels {

void glu_avx512(StreamImpl& stream, const GluParams& p, backends::Access access);
void glu_avx2(StreamImpl& stream, const GluParams& p, backends::Access access);
void glu_baseline(StreamImpl& stream, const GluParams& p, backends::Access access);

}  // namespace mlxn::kernels
