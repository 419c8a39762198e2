// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of gpu.h on any GPU backend.
#include "kernels/rope/gpu_launch.h"

#include <utility>

#include "kernels/common/gpu_launch.h"
#include "kernels/rope/gpu_args.h"

namespace mlxn::kernels {
namespace {

// From the first to the second element of a pair; 0 if they are neighbours.
int64_t half_dim(const RopeParams& p) {
  switch (p.pairing) {
    case ops::RopePairing::kSplitHead:
      return p.pairs > 0 ? p.head_dim / 2 : 0;
    case ops::RopePairing::kSplitRotary:
      return p.pairs;
    case ops::RopePairing::kInterleaved:
      break;
  }
  return 0;
}

// Few tokens: every head its own simdgroup. Many: the angles are shared among up to 16 heads.
int64_t heads_per_simd(const RopeParams& p) {
  constexpr int64_t kBusy = 4096;  // simdgroups that fill a large GPU
  return std::clamp<int64_t>(p.tokens * p.heads / kBusy, 1, std::min<int64_t>(p.heads, 16));
}

}  // namespace

std::optional<std::string_view> rope_gpu_refuses(const RopeParams& p) {
  return refuse_large({p.tokens * p.heads, p.head_dim});
}

void rope_gpu(StreamImpl& stream, const RopeParams& p, backends::Access access) {
  constexpr uint32_t kSimdsPerGroup = 4;
  const int64_t half = half_dim(p), element = static_cast<int64_t>(size_of(p.dtype));
  const int64_t units = half > 0 ? half : p.pairs > 0 ? p.head_dim / 2 : 0;
  const int64_t per_simd = heads_per_simd(p);
  const uint32_t chunks = divide_up(p.heads, per_simd);
  const uint32_t simds = static_cast<uint32_t>(p.tokens) * chunks;
  const bool has_weight = p.norm && p.weight != nullptr;
  const bool vectors = aligned_rows({p.x, p.out}, p.head_dim * element) &&
                       half * element % 16 == 0 && units * 2 * element % 16 == 0 &&
                       (!has_weight || aligned({p.weight}));
  backends::GpuLaunch launch{
      .op = p.norm ? "head_norm_rope" : "rope",
      .kernel = p.norm ? kernel_name("head_norm_rope",
                                     {p.dtype, has_weight ? p.weight_dtype : DType::kF32})
                       : kernel_name("rope", {p.dtype}),
      .groups = {divide_up(simds, kSimdsPerGroup), 1, 1},
      .threads = 32 * kSimdsPerGroup};
  launch.buffer(p.x).buffer(has_weight ? p.weight : nullptr);
  launch.buffer(p.pairs > 0 ? p.positions : nullptr).buffer(p.pairs > 0 ? p.inv_freq : nullptr);
  launch.buffer(p.out);
  launch.constants(GpuRope{.heads = static_cast<uint32_t>(p.heads),
                           .head_dim = static_cast<uint32_t>(p.head_dim),
                           .pairs = static_cast<uint32_t>(p.pairs),
                           .units = static_cast<uint32_t>(units),
                           .half_dim = static_cast<uint32_t>(half),
                           .heads_per_simd = static_cast<uint32_t>(per_simd),
                           .chunks = chunks,
                           .simds = simds,
                           .vectors = vectors,
                           .weight = has_weight,
                           .eps = p.eps,
                           .weight_offset = p.weight_offset});
  backends::gpu_stream(stream).launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
