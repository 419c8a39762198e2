// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rope/params.h"

namespace mlxn::kernels {

void rope_avx512(StreamImpl& stream, const RopeParams& p, backends::Access access);
void rope_avx2(StreamImpl& stream, const RopeParams& p, backends::Access access);
void rope_baseline(StreamImpl& stream, const RopeParams& p, backends::Access access);

}  // namespace mlxn::kernels
