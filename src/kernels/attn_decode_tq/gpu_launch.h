// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode_tq/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_decode_tq_gpu_refuses(const AttnDecodeTqParams& p);
void attn_decode_tq_gpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
