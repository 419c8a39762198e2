// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/turboquant/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> fwht_gpu_refuses(const FwhtParams& p);
void fwht_gpu(StreamImpl& stream, const FwhtParams& p, backends::Access access);
std::optional<std::string_view> tq_encode_gpu_refuses(const TqEncodeParams& p);
void tq_encode_gpu(StreamImpl& stream, const TqEncodeParams& p, backends::Access access);
std::optional<std::string_view> tq_decode_gpu_refuses(const TqDecodeParams& p);
void tq_decode_gpu(StreamImpl& stream, const TqDecodeParams& p, backends::Access access);

}  // namespace mlxn::kernels
