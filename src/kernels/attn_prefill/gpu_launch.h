// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_prefill/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_prefill_gpu_refuses(const AttnPrefillParams& p);
void attn_prefill_gpu(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);

}  // namespace mlxn::kernels
