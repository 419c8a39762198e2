// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_prefill_tq/gpu_args.h"
#include "kernels/attn_prefill_tq/params.h"

namespace mlxn::kernels {

GpuAttnPrefillTq attn_prefill_tq_args(const AttnPrefillTqParams& p);

std::optional<std::string_view> attn_prefill_tq_gpu_refuses(const AttnPrefillTqParams& p);
void attn_prefill_tq_gpu(StreamImpl& stream, const AttnPrefillTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
