// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_prefill/gpu_args.h"
#include "kernels/attn_prefill/params.h"

namespace mlxn::kernels {

// Simdgroups of the shared kernel.
int64_t attn_prefill_simds(const AttnPrefillParams& p);
GpuAttnPrefill attn_prefill_args(const AttnPrefillParams& p);

std::optional<std::string_view> attn_prefill_gpu_refuses(const AttnPrefillParams& p);
void attn_prefill_gpu(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);

// The kernels of metal.h.
std::optional<std::string_view> attn_prefill_simdgroup_leaves(const AttnPrefillParams& p);
std::optional<std::string_view> attn_prefill_simdgroup_refuses(const AttnPrefillParams& p);
void attn_prefill_simdgroup(StreamImpl& stream, const AttnPrefillParams& p,
                            backends::Access access);

}  // namespace mlxn::kernels
