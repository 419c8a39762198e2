// SPDX-License-Identifier: Apache-2.0
// The CUDA entry of attn_prefill_tq.
#pragma once

#include "kernels/attn_prefill_tq/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_prefill_tq_cuda_leaves(const AttnPrefillTqParams& p);
std::optional<std::string_view> attn_prefill_tq_cuda_refuses(const AttnPrefillTqParams& p);
void attn_prefill_tq_cuda(StreamImpl& stream, const AttnPrefillTqParams& p,
                          backends::Access access);

}  // namespace mlxn::kernels
