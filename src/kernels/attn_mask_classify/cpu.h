// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_mask_classify/params.h"

namespace mlxn::kernels {

void attn_mask_classify_avx512(StreamImpl& stream, const AttnMaskClassifyParams& p,
                               backends::Access access);
void attn_mask_classify_avx2(StreamImpl& stream, const AttnMaskClassifyParams& p,
                             backends::Access access);
void attn_mask_classify_baseline(StreamImpl& stream, const AttnMaskClassifyParams& p,
                                 backends::Access access);

}  // namespace mlxn::kernels
