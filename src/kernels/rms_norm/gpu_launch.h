// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rms_norm/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> rms_norm_gpu_refuses(const RmsNormParams& p);
void rms_norm_gpu(StreamImpl& stream, const RmsNormParams& p, backends::Access access);

std::optional<std::string_view> residual_norms_gpu_refuses(const ResidualNormsParams& p);
void residual_norms_gpu(StreamImpl& stream, const ResidualNormsParams& p, backends::Access access);

}  // namespace mlxn::kernels
