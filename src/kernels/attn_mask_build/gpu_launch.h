// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_mask_build/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_mask_build_gpu_refuses(const AttnMaskBuildParams& p);
void attn_mask_build_gpu(StreamImpl& stream, const AttnMaskBuildParams& p, backends::Access access);

}  // namespace mlxn::kernels
