// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_prefill/params.h"

namespace mlxn::kernels {

void attn_prefill_avx512(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);
void attn_prefill_avx2(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);
void attn_prefill_baseline(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access);

}  // namespace mlxn::kernels
