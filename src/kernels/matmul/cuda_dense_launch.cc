// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_dense.cu.
#include <algorithm>
#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_launch.h"
#include "kernels/matmul/gpu_launch.h"

namespace mlxn::kernels {
namespace {

// As in the kernels.
constexpr int64_t kBlock = 64, kPanelRows = 16, kTeams = 2, kTeamThreads = 256;
constexpr int64_t kBlockBytes = kPanelRows * kBlock * 2;
constexpr int64_t kSingleStages = 5, kNarrowPanels = 2, kNarrowStages = 3, kMostNarrow = 24;
constexpr int64_t kWideRows = 128, kWideStages = 4, kResultPitch = 132;

// Terms of an element of x that a weight of this format takes.
int64_t terms_of(const MatmulParams& p) {
  if (p.x_dtype == DType::kF32) return p.weight.format == Format::kBF16 ? 3 : 2;
  return p.weight.format == Format::kBF16 && p.x_dtype == DType::kF16 ? 2 : 1;
}
bool is_scaled(const MatmulParams& p) {
  return p.weight.format == Format::kF16 && p.x_dtype != DType::kF16;
}
uint32_t u32_of(int64_t value) { return static_cast<uint32_t>(value); }

std::string kernel_of(const char* kernel, const MatmulParams& p) {
  return std::string("matmul_dense_") + kernel + "_" + std::string(name(p.weight.format));
}

CudaDense args_of(const MatmulParams& p) {
  return {.rows = u32_of(p.weight.rows),
          .cols = u32_of(p.weight.cols),
          .out_rows = u32_of(p.out_rows),
          .terms = u32_of(terms_of(p)),
          .slices = cuda_slices(p.weight.cols / kBlock),
          .tiles = 1,
          .tile_rows = u32_of(p.out_rows),
          .scaled = is_scaled(p),
          .has_residual = p.residual != nullptr,
          .x_type = matmul_type(p.x_dtype),
          .out_type = matmul_type(p.out_dtype)};
}

// Rows of x as terms of the weight's type, and what their results are multiplied with.
struct Terms {
  const void* data;
  Buffer scales;
};
Terms stage_terms(StreamImpl& stream, const MatmulParams& p, backends::Access& access) {
  const bool same_type = terms_of(p) == 1 && !is_scaled(p);
  if (same_type && aligned({p.x})) return {p.x, {}};
  const auto rows = static_cast<size_t>(p.out_rows);
  const Buffer terms = stream.scratch(rows * static_cast<size_t>(terms_of(p) * p.weight.cols * 2));
  const Buffer scales = stream.scratch(rows * sizeof(float));
  backends::Access staging = access.inputs();
  staging.write(terms);
  staging.write(scales);
  backends::GpuLaunch launch{.op = "matmul",
                             .kernel = kernel_of("terms", p),
                             .groups = {u32_of(p.out_rows), 1, 1},
                             .threads = kTeamThreads};
  launch.buffer(p.x).buffer(terms.data()).buffer(scales.data()).constants(args_of(p));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(staging));
  access.read(terms);
  access.read(scales);
  return {terms.data(), scales};
}

}  // namespace

std::optional<std::string_view> dense_cuda_leaves(const MatmulParams& p) {
  const quant::WeightView& w = p.weight;
  if (w.format != Format::kF16 && w.format != Format::kBF16) return "is for f16 and bf16 weights";
  if (w.cols % kBlock != 0 || !aligned({w.data})) return "takes blocks of 64 elements";
  return std::nullopt;
}

std::optional<std::string_view> dense_cuda_refuses(const MatmulParams& p) {
  return refuse_large({p.out_rows * terms_of(p), p.weight.rows, p.weight.cols,
                       divide_up(p.weight.rows, kWideRows) * p.out_rows});
}

void dense_cuda(StreamImpl& stream, const MatmulParams& p, backends::Access access) {
  const backends::GpuLimits& limits = backends::gpu_stream(stream).limits();
  const int64_t rows = p.weight.rows, terms = terms_of(p), columns = p.out_rows * terms;
  const int64_t single_memory =
      terms * (p.weight.cols + 32) * 2 + kTeams * kCudaSlices * kSingleStages * kBlockBytes;
  CudaDense args = args_of(p);
  // Kernels have up to 9 KiB of their own.
  if (p.out_rows == 1 &&
      single_memory <= static_cast<int64_t>(limits.threadgroup_memory) - (9 << 10)) {
    const int64_t panels = divide_up(rows, kPanelRows);
    backends::GpuLaunch launch{
        .op = "matmul",
        .kernel = kernel_of("single", p),
        .groups = {u32_of(std::min<int64_t>(limits.compute_units, panels)), 1, 1},
        .threads = u32_of(kTeams * kTeamThreads)};
    launch.buffer(p.weight.data).buffer(p.x).buffer(p.residual).buffer(p.out).constants(args);
    launch.threadgroup(static_cast<size_t>(single_memory));
    return backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
  }
  const Terms x = stage_terms(stream, p, access);
  const bool narrow = columns <= kMostNarrow;
  if (!narrow) {
    args.tile_rows = u32_of(kWideRows / terms);
    args.tiles = divide_up(p.out_rows, kWideRows / terms);
  }
  const char* const kernel = !narrow ? "wide" : columns <= 8 ? "narrow_8" : "narrow_24";
  const int64_t memory =
      narrow ? kCudaSlices * kNarrowStages * kNarrowPanels * kBlockBytes
             : kWideStages * 2 * kWideRows * kBlock * 2 + kWideRows * kResultPitch * 4;
  const int64_t groups = divide_up(rows, narrow ? kNarrowPanels * kPanelRows : kWideRows);
  backends::GpuLaunch launch{.op = "matmul",
                             .kernel = kernel_of(kernel, p),
                             .groups = {u32_of(groups * args.tiles), 1, 1},
                             .threads = kTeamThreads};
  launch.buffer(p.weight.data).buffer(x.data).buffer(x.scales ? x.scales.data() : nullptr);
  launch.buffer(p.residual).buffer(p.out).constants(args);
  launch.threadgroup(static_cast<size_t>(memory));
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
