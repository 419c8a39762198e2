// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/embed/params.h"

namespace mlxn::kernels {

void embed_avx512(StreamImpl& stream, const EmbedParams& p, backends::Access access);
void embed_avx2(StreamImpl& stream, const EmbedParams& p, backends::Access access);
void embed_baseline(StreamImpl& stream, const EmbedParams& p, backends::Access access);

}  // namespace mlxn::kernels
