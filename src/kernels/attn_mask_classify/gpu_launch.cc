// SPDX-License-Identifier: Apache-2.0
// Launches the kernel of gpu.h on any GPU backend.
#include "kernels/attn_mask_classify/gpu_launch.h"

#include <utility>

#include "kernels/attn_mask_classify/gpu_args.h"
#include "kernels/common/gpu_launch.h"

namespace mlxn::kernels {
namespace {

int64_t tile_count(const AttnMaskClassifyParams& p) { return p.planes * p.q_tiles() * p.k_tiles(); }

float sentinel_of(DType dtype) {
  return dtype == DType::kU8 ? 0.0f : dtype == DType::kF16 ? -65504.0f : -1e30f;
}

}  // namespace

std::optional<std::string_view> attn_mask_classify_gpu_refuses(const AttnMaskClassifyParams& p) {
  return refuse_large({tile_count(p), p.q_len, p.k_len});
}

void attn_mask_classify_gpu(StreamImpl& stream, const AttnMaskClassifyParams& p,
                            backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const uint32_t tiles = static_cast<uint32_t>(tile_count(p));
  backends::GpuLaunch launch{.op = "attn_mask_classify",
                             .kernel = kernel_name("attn_mask_classify", {p.dtype}),
                             .groups = {divide_up(tiles, kSimdsPerGroup), 1, 1},
                             .threads = 32 * kSimdsPerGroup};
  launch.buffer(p.mask).buffer(p.classes);
  launch.constants(GpuAttnMaskClassify{.tiles = tiles,
                                       .q_tiles = static_cast<uint32_t>(p.q_tiles()),
                                       .k_tiles = static_cast<uint32_t>(p.k_tiles()),
                                       .q_len = static_cast<uint32_t>(p.q_len),
                                       .k_len = static_cast<uint32_t>(p.k_len),
                                       .q_tile = static_cast<uint32_t>(p.q_tile),
                                       .k_tile = static_cast<uint32_t>(p.k_tile),
                                       .sentinel = sentinel_of(p.dtype)});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
