// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_decode_tq/params.h"

namespace mlxn::kernels {

// Instantiated for every instruction set.
template <Isa isa>
void attn_decode_tq_cpu(StreamImpl& stream, const AttnDecodeTqParams& p, backends::Access access);
std::optional<std::string_view> attn_decode_tq_vnni_leaves(const AttnDecodeTqParams& p);

}  // namespace mlxn::kernels
