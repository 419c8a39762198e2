// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/moe_route/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/moe_route/gpu_args.h"

namespace mlxn::kernels {
namespace {

GpuRouteSum sum_of(const MoeRouteParams& p) {
  if (p.mode == ops::RouteMode::kTopKSoftmax) return kGpuRouteScaled;
  return p.renormalize ? kGpuRouteSelected : kGpuRouteAll;
}

}  // namespace

std::optional<std::string_view> moe_route_gpu_refuses(const MoeRouteParams& p) {
  return refuse_large({p.tokens});
}

void moe_route_gpu(StreamImpl& stream, const MoeRouteParams& p, backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  backends::GpuLaunch launch{.op = "moe_route",
                             .kernel = p.experts <= 128   ? "moe_route_128"
                                       : p.experts <= 256 ? "moe_route_256"
                                                          : "moe_route_1024",
                             .groups = {divide_up(p.tokens, kSimdsPerGroup), 1, 1},
                             .threads = 32 * kSimdsPerGroup};
  launch.buffer(p.logits).buffer(p.expert_scale).buffer(p.ids).buffer(p.weights);
  launch.constants(GpuMoeRoute{.tokens = static_cast<uint32_t>(p.tokens),
                               .experts = static_cast<uint32_t>(p.experts),
                               .top_k = static_cast<uint32_t>(p.top_k),
                               .expert_scale = p.expert_scale != nullptr,
                               .sum = sum_of(p)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
