// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/dequantize/params.h"

namespace mlxn::kernels {

void dequantize_avx512(StreamImpl& stream, const DequantizeParams& p, backends::Access access);
void dequantize_avx2(StreamImpl& stream, const DequantizeParams& p, backends::Access access);
void dequantize_baseline(StreamImpl& stream, const DequantizeParams& p, backends::Access access);

}  // namespace mlxn::kernels
