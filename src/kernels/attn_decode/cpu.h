// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode/params.h"

namespace mlxn::kernels {

void attn_decode_avx512(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);
void attn_decode_avx2(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);
void attn_decode_baseline(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
