// SPDX-License-Identifier: Apache-2.0
// The CUDA entry of attn_decode for 16-bit keys and values.
#pragma once

#include "kernels/attn_decode/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_decode_cuda_leaves(const AttnDecodeParams& p);
std::optional<std::string_view> attn_decode_cuda_refuses(const AttnDecodeParams& p);
void attn_decode_cuda(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
