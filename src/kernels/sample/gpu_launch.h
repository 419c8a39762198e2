// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/sample/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> sample_gpu_refuses(const SampleParams& p);
void sample_gpu(StreamImpl& stream, const SampleParams& p, backends::Access access);

}  // namespace mlxn::kernels
