// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/skeleton/params.h"

namespace mlxn::kernels {

void axpy_avx512(StreamImpl& stream, const AxpyParams& p, backends::Access access);
void axpy_avx2(StreamImpl& stream, const AxpyParams& p, backends::Access access);
void axpy_baseline(StreamImpl& stream, const AxpyParams& p, backends::Access access);

}  // namespace mlxn::kernels
