// SPDX-License-Identifier: Apache-2.0
// The CUDA entry of attn_decode_tq for caches whose levels are exact in f16.
#pragma once

#include "kernels/attn_decode_tq/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_decode_tq_cuda_leaves(const AttnDecodeTqParams& p);
std::optional<std::string_view> attn_decode_tq_cuda_refuses(const AttnDecodeTqParams& p);
void attn_decode_tq_cuda(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
