// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/matmul/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/matmul/gpu_args.h"

namespace mlxn::kernels {
namespace {

constexpr uint32_t kSimds = 4;        // simdgroups of a threadgroup
constexpr uint32_t kRowsPerSimd = 4;  // weight rows of one, as in gpu.h

// Rows of x that a simdgroup takes. Each out row of expert_matmul has an expert of its own.
int64_t tile_rows(const MatmulParams& p) {
  if (p.ids != nullptr || p.out_rows == 1) return 1;
  return p.out_rows == 2 ? 2 : p.out_rows <= 4 ? 4 : 8;
}

std::string kernel_of(const MatmulParams& p) {
  const quant::WeightView& w = p.weight;
  const std::string base =
      "matmul_" + std::to_string(tile_rows(p)) + "_" + std::string(name(w.format));
  return w.format == Format::kAffine ? kernel_name(base, {w.scale_dtype}) : base;
}

int64_t tile_count(const MatmulParams& p) { return divide_up(p.out_rows, tile_rows(p)); }

int64_t group_count(const MatmulParams& p) {
  return divide_up(p.weight.rows, kSimds * kRowsPerSimd) * tile_count(p);
}

GpuMatmul args_of(const MatmulParams& p) {
  const quant::WeightView& w = p.weight;
  const int64_t x_bytes = w.cols * static_cast<int64_t>(size_of(p.x_dtype));
  return {.rows = static_cast<uint32_t>(w.rows),
          .cols = static_cast<uint32_t>(w.cols),
          .experts = static_cast<uint32_t>(w.num_experts),
          .out_rows = static_cast<uint32_t>(p.out_rows),
          .rows_per_x = static_cast<uint32_t>(p.rows_per_x),
          .tiles = static_cast<uint32_t>(tile_count(p)),
          .row_bytes = static_cast<uint32_t>(w.row_bytes),
          .row_scale_bytes = static_cast<uint32_t>(w.row_scale_bytes),
          .bits = static_cast<uint32_t>(w.bits),
          .group_size = static_cast<uint32_t>(w.group_size),
          .has_biases = w.biases != nullptr,
          .has_ids = p.ids != nullptr,
          .has_residual = p.residual != nullptr,
          .x_type = matmul_type(p.x_dtype),
          .out_type = matmul_type(p.out_dtype),
          .x_vectors = aligned_rows({p.x}, x_bytes),
          .w_vectors = aligned_rows({w.data}, w.row_bytes)};
}

}  // namespace

std::optional<std::string_view> matmul_gpu_refuses(const MatmulParams& p) {
  const quant::WeightView& w = p.weight;
  return refuse_large({p.out_rows, w.rows, w.cols, w.num_experts, w.row_bytes, group_count(p)});
}

void matmul_gpu(StreamImpl& stream, const MatmulParams& p, backends::Access access) {
  const quant::WeightView& w = p.weight;
  backends::GpuLaunch launch{.op = p.ids != nullptr ? "expert_matmul" : "matmul",
                             .kernel = kernel_of(p),
                             .groups = {static_cast<uint32_t>(group_count(p)), 1, 1},
                             .threads = kSimds * 32};
  launch.buffer(w.data).buffer(w.scales).buffer(w.biases).buffer(p.x).buffer(p.ids);
  launch.buffer(p.residual).buffer(p.out).constants(args_of(p));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
