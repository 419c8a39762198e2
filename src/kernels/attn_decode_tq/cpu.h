// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode_tq/params.h"

namespace mlxn::kernels {

// Instantiated for kAvx512, kAvx2 and kBaseline.
template <Isa isa>
void attn_decode_tq_cpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access);

}  // namespace mlxn::kernels
