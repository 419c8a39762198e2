// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attn_merge/params.h"

namespace mlxn::kernels {

void attn_merge_avx512(StreamImpl& stream, const AttnMergeParams& p, backends::Access access);
void attn_merge_avx2(StreamImpl& stream, const AttnMergeParams& p, backends::Access access);
void attn_merge_baseline(StreamImpl& stream, const AttnMergeParams& p, backends::Access access);

}  // namespace mlxn::kernels
