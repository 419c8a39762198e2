// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/rms_norm/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/rms_norm/gpu_args.h"

namespace mlxn::kernels {
std::optional<std::string_view> rms_norm_gpu_refuses(const RmsNormParams& p) {
  return refuse_large({p.rows, p.dim});
}

void rms_norm_gpu(StreamImpl& stream, const RmsNormParams& p, backends::Access access) {
  constexpr int64_t kKept = 2;  // vectors that a thread keeps, as in gpu.h
  const int64_t row_bytes = p.dim * static_cast<int64_t>(size_of(p.dtype));
  const bool vectors =
      aligned({p.weight}) &&
      aligned_rows({p.x, p.add_before, p.add_after, p.factor, p.sum, p.out}, row_bytes);
  const DType weight_dtype = p.weight ? p.weight_dtype : DType::kF32;
  backends::GpuLaunch launch{.op = "rms_norm",
                             .kernel = kernel_name("rms_norm", {p.dtype, weight_dtype}),
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(divide_up(row_bytes, 16 * kKept))};
  launch.buffer(p.x).buffer(p.add_before).buffer(p.add_after).buffer(p.factor);
  launch.buffer(p.weight).buffer(p.sum).buffer(p.out);
  launch.constants(GpuRmsNorm{.dim = static_cast<uint32_t>(p.dim),
                              .vectors = vectors,
                              .add_before = p.add_before != nullptr,
                              .add_after = p.add_after != nullptr,
                              .factor = p.factor != nullptr,
                              .weight = p.weight != nullptr,
                              .sum = p.sum != nullptr,
                              .eps = p.eps,
                              .weight_offset = p.weight_offset,
                              .scale = p.scale});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
