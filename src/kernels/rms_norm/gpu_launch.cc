// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/rms_norm/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/rms_norm/gpu_args.h"

namespace mlxn::kernels {
namespace {

bool has_vectors(const RmsNormParams& p) {
  const int64_t row_bytes = p.dim * static_cast<int64_t>(size_of(p.dtype));
  for (const void* rows : {p.x, p.add_before, p.add_after, static_cast<const void*>(p.sum),
                           static_cast<const void*>(p.out)}) {
    if (!aligned_rows(rows, row_bytes)) return false;
  }
  return aligned_rows(p.weight, 16);
}

}  // namespace

std::optional<std::string_view> rms_norm_gpu_refuses(const RmsNormParams& p) {
  return refuse_large({p.rows, p.dim});
}

void rms_norm_gpu(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  const int64_t lanes = 16 / static_cast<int64_t>(size_of(p.dtype));  // elements of a vector
  const DType weight_dtype = p.weight ? p.weight_dtype : DType::kF32;
  backends::GpuLaunch launch{.op = "rms_norm",
                             .kernel = kernel_name("rms_norm", {p.dtype, weight_dtype}),
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(divide_up(p.dim, 2 * lanes))};
  launch.buffer(p.x).buffer(p.add_before).buffer(p.add_after).buffer(p.weight);
  launch.buffer(p.sum).buffer(p.out);
  launch.constants(GpuRmsNorm{.dim = static_cast<uint32_t>(p.dim),
                              .vectors = has_vectors(p),
                              .add_before = p.add_before != nullptr,
                              .add_after = p.add_after != nullptr,
                              .weight = p.weight != nullptr,
                              .sum = p.sum != nullptr,
                              .eps = p.eps,
                              .weight_offset = p.weight_offset,
                              .scale = p.scale});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
