// SPDX-License-Identifier: Apache-2.0
// embed on any GPU backend: the kernels of dequantize, for the rows that ids name.
#include "kernels/embed/gpu_launch.h"

#include <utility>

#include "kernels/dequantize/gpu_launch.h"

namespace mlxn::kernels {
namespace {

DecodeRowsParams rows_of(const EmbedParams& p) {
  return {"embed", p.table, p.ids, p.out, p.count, p.out_dtype, p.scale};
}

}  // namespace

std::optional<std::string_view> embed_gpu_refuses(const EmbedParams& p) {
  return decode_rows_gpu_refuses(rows_of(p));
}

void embed_gpu(StreamImpl& stream, const EmbedParams& p, backends::Access access) {
  decode_rows_gpu(stream, rows_of(p), std::move(access));
}

}  // namespace mlxn::kernels
