// SPDX-License-Identifier: Apache-2.0
// The CUDA entry of attn_prefill for 16-bit keys and values.
#pragma once

#include "kernels/attn_prefill/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_prefill_cuda_leaves(const AttnPrefillParams& p);
void attn_prefill_cuda(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);

}  // namespace mlxn::kernels
