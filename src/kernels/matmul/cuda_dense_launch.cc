// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_dense.cu and cuda_dense_wide.cu.
#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "kernels/common/gpu_launch.h"
#include "kernels/matmul/cuda_args.h"
#include "kernels/matmul/cuda_launch.h"
#include "kernels/matmul/cuda_plan.h"
#include "kernels/matmul/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kBlock = 64;  // as in the kernels

// Whether x times a power of two of each row is multiplied: where terms are f16 and x is not.
bool is_scaled(const MatmulParams& p) {
  return p.x_dtype != DType::kF16 &&
         !(p.weight.format == Format::kBF16 && p.x_dtype == DType::kBF16);
}
uint32_t u32_of(int64_t value) { return static_cast<uint32_t>(value); }

std::string kernel_of(const char* kernel, const MatmulParams& p) {
  const bool lifted = p.weight.format == Format::kBF16 && p.x_dtype != DType::kBF16;
  return std::string("matmul_dense_") + kernel + "_" + std::string(name(p.weight.format)) +
         (lifted ? "_lifted" : "");
}

const char* name_of(mma::DenseKernel kernel) {
  switch (kernel) {
    case mma::DenseKernel::kSingle:
      return "single";
    case mma::DenseKernel::kNarrow8:
      return "narrow_8";
    case mma::DenseKernel::kNarrow24:
      return "narrow_24";
    case mma::DenseKernel::kWide:
      break;
  }
  return "wide";
}

CudaDense args_of(const MatmulParams& p) {
  return {.rows = u32_of(p.weight.rows),
          .cols = u32_of(p.weight.cols),
          .out_rows = u32_of(p.out_rows),
          .terms = u32_of(mma::dense_terms(p)),
          .slices = cuda_slices(p.weight.cols / kBlock),
          .tiles = 1,
          .tile_rows = u32_of(p.out_rows),
          .scaled = is_scaled(p),
          .has_residual = p.residual != nullptr,
          .x_type = matmul_type(p.x_dtype),
          .out_type = matmul_type(p.out_dtype)};
}

// Rows of x as terms, and what their results are multiplied with.
struct Terms {
  const std::byte* data;
  Buffer scales;
};
// Terms in `bytes` of scratch memory, by a kernel that takes a group for each of `rows`.
Terms stage_terms(StreamImpl& stream, const MatmulParams& p, const char* kernel, int64_t rows,
                  int64_t bytes, const CudaDense& args, backends::Access& access) {
  const Buffer terms = stream.scratch(static_cast<size_t>(bytes));
  const Buffer scales = stream.scratch(static_cast<size_t>(p.out_rows) * sizeof(float));
  backends::Access staging = access.inputs();
  staging.write(terms);
  staging.write(scales);
  constexpr uint32_t kTermsThreads = 256;
  backends::GpuLaunch launch{.op = "matmul",
                             .kernel = kernel_of(kernel, p),
                             .groups = {u32_of(rows), 1, 1},
                             .threads = kTermsThreads};
  launch.buffer(p.x).buffer(terms.data()).buffer(scales.data()).constants(args);
  backends::gpu_stream(stream).launch(std::move(launch), std::move(staging));
  access.read(terms);
  access.read(scales);
  return {terms.data(), scales};
}
// [out rows, terms, cols]: x itself, where it is that.
Terms stage_rows(StreamImpl& stream, const MatmulParams& p, backends::Access& access) {
  // Elements of x lie in the order of those of the weight.
  const bool same_type = mma::dense_terms(p) == 1 && !is_scaled(p);
  if (same_type && p.weight.format != Format::kF32 && aligned({p.x}))
    return {static_cast<const std::byte*>(p.x), {}};
  const int64_t bytes = p.out_rows * mma::dense_terms(p) * p.weight.cols * 2;
  return stage_terms(stream, p, "terms", p.out_rows, bytes, args_of(p), access);
}

// Rows of x and of zeros that a call of the kernel for many rows has terms of: the first terms of
// the last tile fill whole tiles of eight columns or, in front of second ones, half the columns
// that are multiplied.
int64_t padded_rows(const MatmulParams& p, int64_t tiles, int64_t tile_rows) {
  const int64_t before = (tiles - 1) * tile_rows, last = p.out_rows - before;
  if (mma::dense_terms(p) == 1) return before + base::round_up(last, mma::kXTileRows);
  return before + (last > tile_rows / 2 ? tile_rows : tile_rows / 2);
}

}  // namespace

std::optional<std::string_view> dense_cuda_leaves(const MatmulParams& p) {
  const quant::WeightView& w = p.weight;
  if (w.format != Format::kF32 && w.format != Format::kF16 && w.format != Format::kBF16) {
    return "is for weights that are floats";
  }
  if (w.cols % kBlock != 0 || !aligned({w.data})) return "takes blocks of 64 elements";
  return std::nullopt;
}

std::optional<std::string_view> dense_cuda_refuses(const MatmulParams& p) {
  return refuse_large({p.out_rows * mma::dense_terms(p), p.weight.rows, p.weight.cols,
                       divide_up(p.weight.rows, mma::kWideRows) * p.out_rows});
}

void dense_cuda(StreamImpl& stream, const MatmulParams& p, backends::Access access) {
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  const mma::DensePlan plan = mma::dense_plan_of(p, gpu.limits());
  CudaDense args = args_of(p);
  backends::GpuLaunch launch{.op = "matmul",
                             .kernel = kernel_of(name_of(plan.kernel), p),
                             .groups = {u32_of(plan.groups), 1, 1},
                             .threads = u32_of(plan.threads)};
  launch.buffer(p.weight.data);
  const auto memory = static_cast<size_t>(plan.memory);
  if (plan.kernel == mma::DenseKernel::kSingle) {
    launch.buffer(p.x).buffer(p.residual).buffer(p.out).constants(args).threadgroup(memory);
    return gpu.launch(std::move(launch), std::move(access));
  }
  if (plan.kernel == mma::DenseKernel::kWide) {
    args.tile_rows = u32_of(plan.tile_rows);
    args.tiles = divide_up(p.out_rows, plan.tile_rows);
    const int64_t bytes = args.tiles * mma::kWideRows * p.weight.cols * 2;
    const int64_t rows = padded_rows(p, args.tiles, plan.tile_rows);
    const Terms x = stage_terms(stream, p, "tiles", rows, bytes, args, access);
    launch.buffer(x.data).buffer(x.scales.data()).buffer(p.residual).buffer(p.out);
    launch.constants(args).threadgroup(memory);
    return gpu.launch(std::move(launch), std::move(access));
  }
  const Terms x = stage_rows(stream, p, access);
  const int64_t x_bytes = mma::dense_terms(p) * p.weight.cols * 2;
  const int64_t out_bytes = p.weight.rows * static_cast<int64_t>(size_of(p.out_dtype));
  for (int64_t first = 0; first < p.out_rows; first += plan.rows) {
    const auto from = [first](const auto* rows, int64_t row_bytes) {
      return rows == nullptr ? nullptr : static_cast<const std::byte*>(rows) + first * row_bytes;
    };
    args.out_rows = u32_of(std::min(plan.rows, p.out_rows - first));
    args.tile_rows = args.out_rows;
    backends::GpuLaunch part = launch;
    part.buffer(from(x.data, x_bytes));
    part.buffer(x.scales ? from(x.scales.data(), sizeof(float)) : nullptr);
    part.buffer(from(p.residual, out_bytes)).buffer(from(p.out, out_bytes)).constants(args);
    part.threadgroup(memory);
    gpu.launch(std::move(part), access);
  }
}

}  // namespace mlxn::kernels
