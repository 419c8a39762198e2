// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/moe_combine/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/moe_combine/gpu_args.h"

namespace mlxn::kernels {
namespace {

uint32_t threads_of(const MoeCombineParams& p) {
  return group_threads(divide_up(p.dim, vector_elements(p.dtype)), 256);
}

uint32_t groups_per_token(const MoeCombineParams& p) {
  return divide_up(p.dim, threads_of(p) * vector_elements(p.dtype));
}

}  // namespace

std::optional<std::string_view> moe_combine_gpu_refuses(const MoeCombineParams& p) {
  return refuse_large({p.dim, p.top_k, p.tokens * groups_per_token(p)});
}

void moe_combine_gpu(StreamImpl& stream, const MoeCombineParams& p, backends::Access access) {
  const uint32_t groups = groups_per_token(p);
  const int64_t row_bytes = p.dim * static_cast<int64_t>(size_of(p.dtype));
  backends::GpuLaunch launch{.op = "moe_combine",
                             .kernel = kernel_name("moe_combine", {p.dtype}),
                             .groups = {static_cast<uint32_t>(p.tokens) * groups, 1, 1},
                             .threads = threads_of(p)};
  launch.buffer(p.y).buffer(p.weights).buffer(p.shared).buffer(p.shared_gate);
  launch.buffer(p.residual).buffer(p.out);
  launch.constants(
      GpuMoeCombine{.top_k = static_cast<uint32_t>(p.top_k),
                    .dim = static_cast<uint32_t>(p.dim),
                    .groups = groups,
                    .shared = p.shared != nullptr,
                    .shared_gate = p.shared_gate != nullptr,
                    .residual = p.residual != nullptr,
                    .vectors = aligned_rows({p.y, p.shared, p.residual, p.out}, row_bytes)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
