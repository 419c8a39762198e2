// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/glu/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> glu_gpu_refuses(const GluParams& p);
void glu_gpu(StreamImpl& stream, const GluParams& p, backends::Access access);

}  // namespace mlxn::kernels
