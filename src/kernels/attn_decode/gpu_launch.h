// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_decode_gpu_refuses(const AttnDecodeParams& p);
void attn_decode_gpu(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
