// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_prefill_tq/params.h"

namespace mlxn::kernels {

template <Isa isa>
void attn_prefill_tq_cpu(StreamImpl& stream, const AttnPrefillTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
