// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_mask_classify/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_mask_classify_gpu_refuses(const AttnMaskClassifyParams& p);
void attn_mask_classify_gpu(StreamImpl& stream, const AttnMaskClassifyParams& p,
                            backends::Access access);

}  // namespace mlxn::kernels
