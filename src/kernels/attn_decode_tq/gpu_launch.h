// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode_tq/gpu_args.h"
#include "kernels/attn_decode_tq/params.h"

namespace mlxn::kernels {

// As attn_decode_args of attn_decode/gpu_launch.h.
GpuAttnDecodeTq attn_decode_tq_args(const AttnDecodeTqParams& p, const GpuParts& parts,
                                    int64_t tile_heads);

std::optional<std::string_view> attn_decode_tq_gpu_refuses(const AttnDecodeTqParams& p);
void attn_decode_tq_gpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
