// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode/gpu_args.h"
#include "kernels/attn_decode/params.h"

namespace mlxn::kernels {

// Constants of a launch over parts, for threadgroups that take `tile_heads` query heads.
GpuAttnDecode attn_decode_args(const AttnDecodeParams& p, const GpuParts& parts,
                               int64_t tile_heads);

std::optional<std::string_view> attn_decode_gpu_refuses(const AttnDecodeParams& p);
void attn_decode_gpu(StreamImpl& stream, const AttnDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
