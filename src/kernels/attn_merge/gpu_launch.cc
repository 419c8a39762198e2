// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_merge/gpu_launch.h"

#include <utility>

#include "kernels/attn_merge/gpu_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {

std::optional<std::string_view> attn_merge_gpu_refuses(const AttnMergeParams& p) {
  return refuse_large({p.num_parts, p.rows, p.dim});
}

void attn_merge_gpu(StreamImpl& stream, const AttnMergeParams& p, backends::Access access) {
  constexpr uint32_t kMostThreads = 128;
  backends::GpuLaunch launch{.op = "attn_merge",
                             .kernel = kernel_name("attn_merge", {p.dtype}),
                             .groups = {static_cast<uint32_t>(p.rows), 1, 1},
                             .threads = group_threads(p.dim, kMostThreads)};
  launch.buffer(p.parts).buffer(p.lse).buffer(p.out).buffer(p.out_lse);
  launch.constants(GpuAttnMerge{.num_parts = static_cast<uint32_t>(p.num_parts),
                                .rows = static_cast<uint32_t>(p.rows),
                                .dim = static_cast<uint32_t>(p.dim),
                                .out_lse = p.out_lse != nullptr});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
