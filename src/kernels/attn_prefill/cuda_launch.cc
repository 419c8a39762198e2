// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of cuda_tile.h.
#include "kernels/attn_prefill/cuda_launch.h"

#include <algorithm>
#include <utility>

#include "kernels/attn_prefill/cuda_shapes.h"
#include "kernels/attn_prefill/gpu_launch.h"
#include "kernels/common/gpu_attn_launch.h"

namespace mlxn::kernels {
namespace {

// As in cuda_copy.h.
struct Shape {
  DType kv_dtype;
  int32_t dim;
  int64_t terms, warps, row_tiles, shares, keys, groups;

  int64_t rows() const { return warps / shares * row_tiles * 16; }
  int64_t memory() const {
    const int64_t stages = shares > 1 ? 1 : 2;
    const int64_t weights = shares > 1 ? terms * rows() * (2 * keys + 16) : 0;
    return (terms * rows() + 2 * stages * keys) * (2 * dim + 16) + weights;
  }
};
#define PREFILL_MMA(...) {__VA_ARGS__},
constexpr Shape kShapes[] = {PREFILL_MMA_SHAPES(PREFILL_MMA)};

// A query of the cache's type is one term; an f32 in as many as it takes.
const Shape* shape_of(const AttnPrefillParams& p) {
  const int64_t terms = p.q_dtype == p.kv_dtype ? 1 : p.kv_dtype == DType::kF16 ? 2 : 3;
  const auto* shape = std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) {
    return s.kv_dtype == p.kv_dtype && s.dim == p.head_dim && s.terms == terms;
  });
  return shape == std::end(kShapes) ? nullptr : shape;
}

// What the plain kernels do without.
bool is_plain(const AttnPrefillParams& p, const Shape& shape) {
  constexpr float kLeastScale = 0x1p-20f;  // as there
  return p.softmax_scale >= kLeastScale && p.logits_soft_cap == 0.0f && p.alibi_slopes == nullptr &&
         p.mask.data == nullptr && p.pages.table == nullptr && p.ring_start == nullptr &&
         p.q_starts == nullptr && p.k_starts == nullptr && p.capacity >= shape.keys;
}

}  // namespace

std::optional<std::string_view> attn_prefill_cuda_leaves(const AttnPrefillParams& p) {
  if (p.head_dim != p.v_dim || shape_of(p) == nullptr) {
    return "is for 16-bit keys and values of the usual dims";
  }
  if (!attn_prefill_has_vectors(p)) return "is for rows aligned to 16 bytes";
  return std::nullopt;
}

void attn_prefill_cuda(StreamImpl& stream, const AttnPrefillParams& p, backends::Access access) {
  const Shape& shape = *shape_of(p);
  backends::GpuStream& gpu = backends::gpu_stream(stream);
  if (static_cast<int64_t>(gpu.limits().threadgroup_memory) < shape.memory()) {
    return attn_prefill_gpu(stream, p, std::move(access));
  }
  const std::string base = is_plain(p, shape) ? "attn_prefill_mma" : "attn_prefill_mma_ruled";
  backends::GpuLaunch launch = attn_prefill_launch(
      p,
      kernel_name(base, {p.kv_dtype}) + "_" + std::to_string(shape.dim) + "_" +
          std::to_string(shape.terms),
      attn_prefill_grid(p, shape.rows()), static_cast<uint32_t>(shape.warps) * 32);
  launch.threadgroup(static_cast<size_t>(shape.memory()));
  gpu.launch(std::move(launch), std::move(access));
}

}  // namespace mlxn::kernels
