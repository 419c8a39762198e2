// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/embed/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> embed_gpu_refuses(const EmbedParams& p);
void embed_gpu(StreamImpl& stream, const EmbedParams& p, backends::Access access);

}  // namespace mlxn::kernels
