// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_append/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> kv_append_gpu_refuses(const KvAppendParams& p);
void kv_append_gpu(StreamImpl& stream, const KvAppendParams& p, backends::Access access);

}  // namespace mlxn::kernels
