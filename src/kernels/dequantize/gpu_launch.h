// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/dequantize/params.h"

namespace mlxn::kernels {

std::optional<std::string_view> dequantize_gpu_refuses(const DequantizeParams& p);
void dequantize_gpu(StreamImpl& stream, const DequantizeParams& p, backends::Access access);

// Rows of a weight: all of them, or those that `ids` names, times `scale`. dequantize and embed.
struct DecodeRowsParams {
  const char* op;
  quant::WeightView weight;
  const int32_t* ids;  // [rows] or null
  void* out;           // [rows, cols], dense
  int64_t rows;
  DType out_dtype;
  float scale;
};
std::optional<std::string_view> decode_rows_gpu_refuses(const DecodeRowsParams& p);
void decode_rows_gpu(StreamImpl& stream, const DecodeRowsParams& p, backends::Access access);

}  // namespace mlxn::kernels
