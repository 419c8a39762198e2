// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/dequantize/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/dequantize/gpu_args.h"

namespace mlxn::kernels {
namespace {

GpuOutType out_type(DType dtype) {
  return dtype == DType::kF16 ? kGpuOutF16 : dtype == DType::kBF16 ? kGpuOutBF16 : kGpuOutF32;
}

std::string kernel_of(const quant::WeightView& w) {
  const std::string base = "dequantize_" + std::string(name(w.format));
  return w.format == Format::kAffine ? kernel_name(base, {w.scale_dtype}) : base;
}

int64_t piece_count(const DecodeRowsParams& p) { return p.rows * divide_up(p.weight.cols, 8); }

bool is_dense(Format format) {
  return format == Format::kF32 || format == Format::kF16 || format == Format::kBF16;
}

// Dense rows may be read by vectors, and the output written so.
bool has_vectors(const DecodeRowsParams& p) {
  const quant::WeightView& w = p.weight;
  const int64_t out_bytes = w.cols * static_cast<int64_t>(size_of(p.out_dtype));
  return aligned_rows({p.out}, out_bytes) &&
         (!is_dense(w.format) || aligned_rows({w.data}, w.row_bytes));
}

DecodeRowsParams rows_of(const DequantizeParams& p) {
  return {"dequantize", p.weight, nullptr, p.out, p.weight.num_experts * p.weight.rows,
          p.out_dtype,  1.0f};
}

}  // namespace

std::optional<std::string_view> decode_rows_gpu_refuses(const DecodeRowsParams& p) {
  return refuse_large(
      {piece_count(p), p.weight.num_experts * p.weight.rows, p.weight.cols, p.weight.row_bytes});
}

void decode_rows_gpu(StreamImpl& stream, const DecodeRowsParams& p, backends::Access access) {
  constexpr uint32_t kThreads = 128;
  const quant::WeightView& w = p.weight;
  backends::GpuLaunch launch{.op = p.op,
                             .kernel = kernel_of(w),
                             .groups = {divide_up(piece_count(p), kThreads), 1, 1},
                             .threads = kThreads};
  launch.buffer(w.data).buffer(w.scales).buffer(w.biases).buffer(p.ids).buffer(p.out);
  launch.constants(GpuDequantize{.pieces = static_cast<uint32_t>(piece_count(p)),
                                 .row_pieces = divide_up(w.cols, 8),
                                 .rows = static_cast<uint32_t>(w.num_experts * w.rows),
                                 .cols = static_cast<uint32_t>(w.cols),
                                 .row_bytes = static_cast<uint32_t>(w.row_bytes),
                                 .row_scale_bytes = static_cast<uint32_t>(w.row_scale_bytes),
                                 .bits = static_cast<uint32_t>(w.bits),
                                 .group_size = static_cast<uint32_t>(w.group_size),
                                 .has_biases = w.biases != nullptr,
                                 .ids = p.ids != nullptr,
                                 .out_type = out_type(p.out_dtype),
                                 .vectors = has_vectors(p),
                                 .scale = p.scale});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

std::optional<std::string_view> dequantize_gpu_refuses(const DequantizeParams& p) {
  return decode_rows_gpu_refuses(rows_of(p));
}

void dequantize_gpu(StreamImpl& stream, const DequantizeParams& p, backends::Access access) {
  decode_rows_gpu(stream, rows_of(p), std::move(access));
}

}  // namespace mlxn::kernels
