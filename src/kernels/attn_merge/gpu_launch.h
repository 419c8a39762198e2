// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_merge/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_merge_gpu_refuses(const AttnMergeParams& p);
void attn_merge_gpu(StreamImpl& stream, const AttnMergeParams& p, backends::Access access);

}  // namespace mlxn::kernels
