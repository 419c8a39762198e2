// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_mask_build/gpu_launch.h"

#include <utility>

#include "kernels/attn_mask_build/gpu_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

constexpr int64_t kCells = 8;  // of a work item

int64_t piece_count(const AttnMaskBuildParams& p) { return p.q_len * divide_up(p.k_len, kCells); }

}  // namespace

std::optional<std::string_view> attn_mask_build_gpu_refuses(const AttnMaskBuildParams& p) {
  return refuse_large({piece_count(p), p.q_offset});
}

void attn_mask_build_gpu(StreamImpl& stream, const AttnMaskBuildParams& p,
                         backends::Access access) {
  constexpr uint32_t kThreads = 256;
  backends::GpuLaunch launch{.op = "attn_mask_build",
                             .kernel = kernel_name("attn_mask_build", {p.dtype}),
                             .groups = {divide_up(piece_count(p), kThreads), 1, 1},
                             .threads = kThreads};
  launch.buffer(p.out).constants(GpuAttnMaskBuild{
      .pieces = static_cast<uint32_t>(piece_count(p)),
      .row_pieces = divide_up(p.k_len, kCells),
      .k_len = static_cast<uint32_t>(p.k_len),
      .q_offset = static_cast<uint32_t>(p.q_offset),
      // A window beyond the counters is none.
      .window_size = p.window_size < kMaxGpuExtent ? static_cast<uint32_t>(p.window_size) : 0,
      .causal = p.causal});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
