// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

// Instantiated for kAvx512, kAvx2 and kBaseline.
template <Isa isa>
void fwht_cpu(StreamImpl& stream, const FwhtParams& p, backends::Access access);
template <Isa isa>
void tq_encode_cpu(StreamImpl& stream, const TqEncodeParams& p, backends::Access access);
template <Isa isa>
void tq_decode_cpu(StreamImpl& stream, const TqDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
