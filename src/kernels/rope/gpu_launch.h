// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rope/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> rope_gpu_refuses(const RopeParams& p);
void rope_gpu(StreamImpl& stream, const RopeParams& p, backends::Access access);

std::optional<std::string_view> qkv_rope_gpu_refuses(const QkvRopeParams& p);
void qkv_rope_gpu(StreamImpl& stream, const QkvRopeParams& p, backends::Access access);

}  // namespace mlxn::kernels
