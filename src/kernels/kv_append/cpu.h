// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_append/params.h"

namespace mlxn::kernels {

void kv_append_avx512(StreamImpl& stream, const KvAppendParams& p, backends::Access access);
void kv_append_avx2(StreamImpl& stream, const KvAppendParams& p, backends::Access access);
void kv_append_baseline(StreamImpl& stream, const KvAppendParams& p, backends::Access access);

}  // namespace mlxn::kernels
