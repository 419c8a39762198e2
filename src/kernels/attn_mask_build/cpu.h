// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_mask_build/params.h"

namespace mlxn::kernels {

void attn_mask_build_avx512(StreamImpl& stream, const AttnMaskBuildParams& p,
                            backends::Access access);
void attn_mask_build_avx2(StreamImpl& stream, const AttnMaskBuildParams& p,
                          backends::Access access);
void attn_mask_build_baseline(StreamImpl& stream, const AttnMaskBuildParams& p,
                              backends::Access access);

}  // namespace mlxn::kernels
